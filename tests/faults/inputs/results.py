"""Result files that are broken: the book names them."""

from __future__ import annotations

import json
from pathlib import Path

from faults.inputs.base import said

from hw2lib.io import results


def result_text(**changes: object) -> str:
    """A result file's text with parts of it, or of its first record, changed."""
    result = {
        "name": "made", "preset": "quick", "data": {"source": "embedded", "sha256": {}},
        "weights": {}, "settings": {}, "seeds": [0], "device": "x", "versions": {}, "commit": "x",
        "seconds": 1.0, "records": [{"row": "dann", "score": "accuracy", "setting": {},
        "values": [0.5], "mean": 0.5, "low": 0.4, "high": 0.6, "n": 10, "unit": "share"}],
    }  # fmt: skip
    for key, value in changes.items():
        where = result["records"][0] if key in result["records"][0] else result
        where[key] = value
    return json.dumps(result).replace('"1e400"', "1e400")


RESULTS = {
    "mean is text": result_text(mean="0.5"), "low is text": result_text(low="x"),
    "mean is NaN": result_text(mean=float("nan")), "mean is infinite": result_text(mean="1e400"),
    "no data": result_text(data=None), "n below 1": result_text(n=-1),
    "n is 1.5": result_text(n=1.5),
    "unit is a list": result_text(unit=[]), "another name": result_text(name="other"),
    "nesting": "[" * 100_000, "nesting of settings": result_text().replace(
        '"settings": {}', '"settings": {"a": ' + "[" * 5000 + "]" * 5000 + "}"),
    "a list": "[1]", "nothing": "", "no UTF-8": "\udcff",
}  # fmt: skip


def read_result(folder: Path, text: str) -> str:
    (folder / "made.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    return said(results.load, "made", folder)
