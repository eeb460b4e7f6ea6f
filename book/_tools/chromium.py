"""Chromium without a window, for what is printed and photographed of the built book."""

import shutil
from typing import Any


def open_chromium() -> Any:
    """Start it; ``quit()`` ends it.

    Raises:
        SystemExit: If it is not installed.
    """
    from selenium import webdriver

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    chromium = chromium or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        raise SystemExit("Chromium and its driver are needed: apt install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
