"""The files of a release, in `_build/release`: HTML archive, PDF, EPUB and their SHA-256.

The archive is reproducible: it doesn't depend on dates, owners or file order.
"""

import argparse
import hashlib
import shutil
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pack(folder: Path, out: Path) -> None:
    """Write ``folder`` as a zip file."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"attnlib/{path.relative_to(folder).as_posix()}")
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())


def make_archive(build: Path) -> Path:
    """Fill ``build/release`` from the build; returns the folder."""
    out = build / "release"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    pack(build / "html", out / "attnlib-html.zip")
    for path in [*build.glob("pdf/*.pdf"), *build.glob("epub/*.epub")]:
        shutil.copy(path, out / f"attnlib{path.suffix}")
    sums = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in sorted(out.iterdir())
    ]
    (out / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    return out


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    make_archive(ROOT / "_build")
