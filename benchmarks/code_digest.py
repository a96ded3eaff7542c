"""What a job's code is: a digest of all modules that it imports, without comments and docstrings.

    digest(["hw2lib/studies/cfdg.py"])          # 64 hex digits

A file's imports are followed through hw2lib and benchmarks, those inside functions too. Only what
Python runs counts: a comment, a docstring or another layout of the lines changes no digest.

SETTINGS are tables whose entries are the settings of single jobs. With `tables=False` they are left
out, where a job's own settings stand beside its digest: a changed row is that row's job alone.
Nothing here imports torch: Snakemake asks for digests at every start.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "hw2lib/experiments/cfdg.py": ("LOGIT_NORMAL", "DIGIT_PRESETS"),
    "hw2lib/experiments/ddim.py": ("EDM_TIMES", "FACE_PRESETS"),
    "hw2lib/experiments/dann_rows.py": (
        "SELF_TRAINING", "EPOCHS", "REPORT", "ROWS", "TABLE", "APART", "MAIN", "QUICK_STEPS",
        "QUICK_BATCH", "QUICK_OFF",
    ),
    "hw2lib/studies/cfdg.py": ("PLAIN", "STRENGTHS", "TRAININGS", "SAMPLES", "_PAIRS", "CASES"),
    "hw2lib/studies/ddim.py": ("ETAS", "PLANS"),
    "benchmarks/dann_variants.py": (
        "ALL_LOSSES", "DANN", "VARIANTS", "RATES", "PLAIN_ROWS", "CEILING_RATES",
    ),
    "benchmarks/dann_trials.py": ("ALIGNED",),
}  # fmt: skip


@cache
def tree(file: Path) -> ast.Module:
    """The file's syntax without docstrings; of a notebook, that of its code cells."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    found = ast.parse(text)
    for node in ast.walk(found):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [statement for statement in body if not _says(statement)]
    return found


def _says(node: ast.stmt) -> bool:
    """Whether a statement is a text alone: a docstring, which does nothing."""
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


@cache
def imported(file: Path) -> frozenset[Path]:
    """Files of hw2lib and benchmarks that a file imports, but not for types alone."""
    found = set()
    typing = {
        inner
        for node in ast.walk(tree(file))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree(file)):
        if node in typing:
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            path = Path(*name.split(".")).with_suffix(".py")
            found |= {p for p in (ROOT / path, ROOT / "benchmarks" / path) if p.is_file()}
    return frozenset(found)


def closure(files: Iterable[str]) -> list[Path]:
    """The files, named from the clone, and all that they import, in order."""
    found, open_ = set(), [ROOT / file for file in files]
    while open_:
        file = open_.pop()
        if file not in found:
            found.add(file)
            open_ += imported(file)
    return sorted(found)


@cache
def _of_file(file: Path, tables: bool) -> str:
    left_out = () if tables else SETTINGS.get(file.relative_to(ROOT).as_posix(), ())
    kept = [node for node in tree(file).body if not _assigned(node) & {*left_out}]
    dumped = "\n".join(ast.dump(node) for node in kept)
    return hashlib.sha256(dumped.encode()).hexdigest()


def _assigned(node: ast.stmt) -> set[str]:
    """The names that a statement assigns to."""
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return {name.id for t in targets if t for name in ast.walk(t) if isinstance(name, ast.Name)}


def digest(files: Iterable[str], tables: bool = True) -> str:
    """Of the files, named from the clone, and all that they import."""
    return _digest(tuple(files), tables)


@cache
def _digest(files: tuple[str, ...], tables: bool) -> str:
    lines = [f"{file.relative_to(ROOT)} {_of_file(file, tables)}" for file in closure(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
