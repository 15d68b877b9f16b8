"""Makes the pictures of the report page, `python docs/pictures.py PAGE.html FOLDER`, from the page of `hpa demo`.

It needs Chromium and playwright. The images with the worst mistakes come first.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

TILES = 16  # of the first picture, two rows
QUALITY = 85


def draw(page: Path, out: Path) -> None:
    """Write `gallery.webp`, a part of the gallery with single cells, and `report.webp`, the top of the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1000, "height": 1250}, device_scale_factor=1.5)
        tab.set_default_timeout(600_000)  # a busy machine
        tab.goto(page.resolve().as_uri())
        tab.wait_for_timeout(3000)
        write(out / "report.webp", tab.screenshot())
        tab.set_viewport_size({"width": 1280, "height": 900})
        tab.check("#cells")
        tab.wait_for_timeout(3000)
        write(out / "gallery.webp", tab.screenshot(clip=first_tiles(tab), full_page=True, scale="css"))
        browser.close()


def first_tiles(tab: Page) -> dict[str, float]:
    """Return the box of the first rows of tiles, in pixels of the page."""
    script = f"""[...document.querySelectorAll('#gallery .tile')].slice(0, {TILES}).map(tile => {{
        const box = tile.getBoundingClientRect();
        return [box.left + scrollX, box.top + scrollY, box.right + scrollX, box.bottom + scrollY]; }})"""
    lefts, tops, rights, bottoms = zip(*tab.evaluate(script), strict=True)
    left, top = min(lefts) - 4, min(tops) - 4
    return {"x": left, "y": top, "width": max(rights) + 4 - left, "height": max(bottoms) + 4 - top}


def write(path: Path, content: bytes) -> None:
    """Write a screenshot as WebP, which is smaller than PNG."""
    Image.open(io.BytesIO(content)).convert("RGB").save(path, quality=QUALITY, method=6)


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:3]))
