"""The answers as PDF files to hand in, A4, printed from the built book by headless Chromium.

    python book/pdf.py        after jupyter-book build book/; `make pdf` does both

writes _build/pdf/answers.pdf (English) and _build/pdf/answers-zh.pdf (Traditional Chinese). What
is printed, and where pages may break, stands in _static/custom.css. Links to other pages of the
book would name this machine's folders, so their text alone is printed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hw2lib.errors import UserError

BUILT = Path(__file__).resolve().parents[1] / "_build"
PAGES = ("answers", "answers-zh")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def print_page(page: Path, pdf: Path) -> None:
    """Print an HTML file to a PDF file; UserError where the page or the browser is missing."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise UserError(
            f"no browser that prints is installed; one of {', '.join(BROWSERS)} is right"
        )
    if not page.is_file():
        raise UserError(f"page {page} does not exist; run `jupyter-book build book/` first")
    pdf.parent.mkdir(parents=True, exist_ok=True)
    alone = re.sub(r'(<a\b[^>]*?)\shref="(?!#|https?:)[^"]*"', r"\1", page.read_text("utf-8"))
    with (
        tempfile.TemporaryDirectory() as profile,
        tempfile.NamedTemporaryFile("w", dir=page.parent, suffix=".html", encoding="utf-8") as copy,
    ):
        copy.write(alone)
        copy.flush()
        done = subprocess.run(
            [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
             "--no-pdf-header-footer", f"--print-to-pdf={pdf}", Path(copy.name).as_uri()],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    if done.returncode or not pdf.is_file():
        raise UserError(f"{program} printed no {pdf.name}: {done.stderr.strip()[-300:]}")


def main() -> int:
    try:
        for name in PAGES:
            pdf = BUILT / "pdf" / f"{name}.pdf"
            print_page(BUILT / "html" / f"{name}.html", pdf)
            print(pdf)
    except UserError as error:
        print(f"pdf: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
