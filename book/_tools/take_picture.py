"""README.md's picture: the live figure of "Look inside" in the built book, as a reader sees it.

    python book/_tools/take_picture.py [--html _build/html] [--view 'layer=12&map=mean']

The view is the end of the page's address; Chromium runs the networks in it. The picture is
``book/_static/look_inside.png``.
"""

import argparse
import sys
import time
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from chromium import open_chromium
from page_parts import ROOT

OUT = ROOT / "book" / "_static" / "look_inside.png"
WIDTH, HEIGHT = 1180, 1400  # pixels of the window
LARGEST = 300_000  # bytes
PATIENCE = 120  # seconds until both networks have answered
MARGIN = 12  # pixels of white around
PRESS = """
[...document.querySelectorAll('.look-live button')].find(
    button => button.textContent.startsWith(arguments[0])).click()"""
READY = """
const told = document.querySelector('[data-panel=bars] [role=status]').textContent;
return document.querySelector('.look-loading').textContent.includes('Both networks run')
    && !told.includes('not answered')"""
DRAWN = "return document.querySelector('[data-panel=experiment] [role=status]').textContent"


def photograph(page: str) -> bytes:
    """The live figure of a page as PNG, once both networks have answered and drawn a curve."""
    browser = open_chromium()
    try:
        screen = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(page)
        for button, done in (("Run the networks", READY), ("Draw the whole curve", DRAWN)):
            browser.execute_script(PRESS, button)
            deadline = time.monotonic() + PATIENCE
            while not browser.execute_script(done):
                if time.monotonic() > deadline:
                    raise SystemExit(f"{page}: the networks did not answer in {PATIENCE} s")
                time.sleep(0.2)
        browser.execute_script("document.querySelector('.bd-sidebar-primary')?.remove()")
        return browser.find_element("css selector", ".look-live").screenshot_as_png
    finally:
        browser.quit()


def main() -> None:
    """Take it and write it in few colours."""
    parser = argparse.ArgumentParser(description="Take README.md's picture from the built book.")
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--view", default="layer=12&map=mean", help="end of the page's address")
    options = parser.parse_args()
    page = f"{(options.html.resolve() / 'explorer.html').as_uri()}#{options.view}"
    shown = Image.open(BytesIO(photograph(page))).convert("RGB")
    shown = ImageOps.expand(shown, MARGIN, "white")
    few = shown.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(OUT, optimize=True)
    size = OUT.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{OUT.name} has {size} bytes; at most {LARGEST} are wanted")
    sys.stdout.write(f"{OUT.relative_to(ROOT)}: {shown.width} x {shown.height}, {size} bytes\n")


if __name__ == "__main__":
    main()
