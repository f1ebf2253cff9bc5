"""Pictures of the report page for the documentation, of a real bundle, in headless Chromium: light and dark, three
widths.

`edge-tl demo --out demo; python docs/_pictures.py demo/exported docs/assets` writes `report-WIDTH-SCHEME.png`. Take the
demo's bundle: its images are scikit-learn's digits, which come with the package. Photographs of others are seldom
yours to publish, so a bundle of them is refused unless `--with-photographs` says that these are.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from edge_tl.device.bundle import read_report
from edge_tl.host.reports.page import write_bundle_page

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from chromium import PROGRAM, Page

HEIGHTS = {1440: 1750, 800: 2600, 360: 2600}  # pixels: the top of a page says what it is
COLOURS = 256
DIGITS = tuple("0123456789")


def main(bundle: Path, out: Path, *, photographs: bool) -> None:
    """Write the pictures, or say in a sentence why not."""
    record = read_report(bundle)
    if record.labels != DIGITS and not photographs:
        sys.exit(
            f"{bundle}: not the demo's digits. Add --with-photographs if its images are yours to publish."
        )
    if PROGRAM is None:
        sys.exit("Chromium is not installed.")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_bundle_page(record, page)
        browser = Page(PROGRAM, Path(folder) / "profile")
        try:
            for width, height in HEIGHTS.items():
                for scheme in ("light", "dark"):
                    browser.show(page, width, dark=scheme == "dark")
                    image = Image.open(io.BytesIO(browser.picture(height=height)))
                    few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
                    few.save(out / f"report-{width}-{scheme}.png", optimize=True)
        finally:
            browser.close()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--with-photographs"]
    if len(words) != 2:
        sys.exit("usage: python docs/_pictures.py BUNDLE FOLDER [--with-photographs]")
    main(Path(words[0]), Path(words[1]), photographs="--with-photographs" in sys.argv)
