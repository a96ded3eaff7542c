"""A built copy of the book for test_site and test_page, made once a test session.

The copy has the repository's recorded runs; where one is missing, a stand-in notebook with a
figure, a table and printed lines takes its place, in the copy only.
"""

from __future__ import annotations

import base64
import fcntl
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
EXTENSIONS = ROOT / "book" / "_ext"


def toc_files() -> list[str]:
    """Documents that the table of contents names."""
    text = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(r"(?:file|root):\s*(\S+)", text)


def stand_in(path: Path) -> None:
    """Write a small executed notebook."""
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (1400, 300), (250, 120, 40)).save(picture, "png")
    output = nbformat.v4.new_output
    figure = output(
        "display_data", data={"image/png": base64.b64encode(picture.getvalue()).decode()}
    )
    printed = output("stream", name="stdout", text="data: embedded stand-in\n" + "x" * 200 + "\n")
    cells = [
        nbformat.v4.new_markdown_cell(f"# Run {path.stem}\n\nWith $\\eta = 0$ and\n\n$$x_0^2$$"),
        nbformat.v4.new_code_cell("draw()", outputs=[printed, figure], execution_count=1),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    language = {"name": "python", "pygments_lexer": "ipython3"}
    nbformat.write(
        nbformat.v4.new_notebook(metadata={"language_info": language}, cells=cells), path
    )


def copy_book(to: Path, *, results: Path | None = None, stand_ins: bool = True) -> Path:
    """A copy of all that the book is built from; `results` in place of data/results."""
    shutil.copytree(ROOT / "book", to / "book", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "_config.yml", to)
    shutil.copytree(ROOT / "data" / "noise", to / "data" / "noise")
    shutil.copy(ROOT / "data" / "report.json", to / "data")
    results = results or ROOT / "data" / "results"
    if results.is_dir():
        shutil.copytree(results, to / "data" / "results")
    if (ROOT / "data" / "weights").is_dir():
        (to / "data" / "weights").symlink_to(ROOT / "data" / "weights")
    for document in toc_files():
        notebook = to / "book" / f"{document}.ipynb"
        if stand_ins and document.startswith("executed/") and not notebook.exists():
            stand_in(notebook)
    return to


def build(top: Path, *options: str) -> subprocess.CompletedProcess:
    """`jupyter-book build book/` in `top`."""
    code = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    environment = {k: v for k, v in os.environ.items() if k != "HW2_BUILD"}
    return subprocess.run(
        [sys.executable, "-c", code, "build", "book/", *options],
        cwd=top, env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip


def built_copy(folder: Path) -> Path:
    """The html folder of a copy in `folder`; whoever asks first builds it, warnings as errors."""
    top = folder / "book-copy"
    top.mkdir(exist_ok=True)
    with open(top / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (top / "built").exists():
            done = build(copy_book(top), "-W", "-n", "--keep-going")
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr
            (top / "built").touch()
    return top / "_build" / "html"
