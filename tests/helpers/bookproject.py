"""A book of one page with our extensions alone, and result files with numbers that are made up."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

from helpers.bookcopy import EXTENSIONS
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

sys.path.insert(0, str(EXTENSIONS))

ACCURACY = {"values": [0.46, 0.47], "mean": 0.465, "low": 0.441, "high": 0.489,
            "n": 1600, "unit": "accuracy"}  # fmt: skip
NORM = {"values": [0.7071], "mean": 0.7071, "low": None, "high": None, "n": 1, "unit": "norm"}


def made(row: str, entry: dict = ACCURACY, score: str = "accuracy", **setting) -> dict:
    """A record whose numbers are made up."""
    return {"row": row, "score": score, "setting": setting, **entry}


def result_file(
    folder: Path, *records: dict, name: str = "dann-svhn", source: str = "public", **more
) -> None:
    """Write a result file, which never leaves the test's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "name": name, "preset": "full", "data": {"source": source, "sha256": {"a.npz": "0" * 64}},
        "weights": {}, "settings": {"steps": 7}, "seeds": [0, 1], "device": "a processor",
        "precision": "float32", "versions": {"torch": "2.15.0"}, "commit": "abc123",
        "seconds": 1234.5, **more, "records": list(records) or [made("dann")],
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


class Project:
    """A one-page book with our extensions alone: `text`, `html` and `warnings` after build()."""

    def __init__(self, top: Path):
        self.top, self.recorded = top, top / "data" / "results"
        self.local = top / "local" / "results"
        (top / "book").mkdir()
        (top / "book" / "_toc.yml").write_text("root: index\n")

    def build(self, page: str) -> Project:
        (self.top / "book" / "index.md").write_text(f"# Page\n\n{page}\n", encoding="utf-8")
        return self.again()

    def again(self) -> Project:
        warnings, out = io.StringIO(), self.top / "out"
        extensions = ["myst_parser", "hw2access", "hw2math", "hw2report", "hw2dots", "hw2figures"]
        config = {"extensions": extensions, "html_theme": "basic", "html_math_renderer": "mathml",
                  "myst_enable_extensions": ["dollarmath"], "numfig": True}  # fmt: skip
        with docutils_namespace():  # registers its roles anew in every build
            app = Sphinx(self.top / "book", None, out, self.top / "trees", "html", config,
                         status=None, warning=warnings)  # fmt: skip
            app.build()
        self.warnings = re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue())
        self.html = (out / "index.html").read_text(encoding="utf-8")
        body = self.html.split('role="main"')[1].split("sphinxsidebar")[0]
        self.text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", body))
        return self
