"""What the built book does without, so that it stays below 40 MB with the live page's models.

Source maps and the translations' sources, which only the theme's developers read; Font Awesome as
TrueType, beside the WOFF2 that browsers take; the second of two equal images, where a chapter and
a recorded notebook show the same figure; the pictures in the notebooks of the download button,
which stand on their pages: numbers and text stay in those files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from sphinx.application import Sphinx

UNREAD = ("**/*.map", "vendor/fontawesome/**/*.ttf")  # within _static


def drop_unread(static: Path) -> None:
    for pattern in UNREAD:
        for file in static.glob(pattern):
            file.unlink()
    shutil.rmtree(static / "locales", ignore_errors=True)


def share_images(html: Path) -> None:
    """One file for equal images; the pages that name another are written anew."""
    first, renamed = {}, {}
    for image in sorted((html / "_images").glob("*")):
        kept = first.setdefault(hashlib.sha256(image.read_bytes()).hexdigest(), image.name)
        if kept != image.name:
            renamed[image.name] = kept
            image.unlink()
    for page in html.rglob("*.html") if renamed else ():
        old = text = page.read_text(encoding="utf-8")
        for name, kept in renamed.items():
            text = text.replace(f"_images/{name}", f"_images/{kept}")
        if text != old:
            page.write_text(text, encoding="utf-8")


def drop_pictures(sources: Path) -> None:
    for file in sources.rglob("*.ipynb"):
        notebook = json.loads(file.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                for kind in [k for k in output.get("data", {}) if k.startswith("image/")]:
                    del output["data"][kind]
        file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def on_finished(app: Sphinx, error: Exception | None) -> None:
    html = Path(app.outdir)
    if error is None and app.builder.format == "html":
        drop_unread(html / "_static")
        share_images(html)
        drop_pictures(html / "_sources")


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", on_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
