"""The house: imports fall in one direction, and what a student reads stays short.

    errors, device, metrics, interpolation <- diffusion, io <- samplers, training, datasets
    <- models, evaluators, adaptation <- experiments <- studies, commands

Rooms of one line may import each other, but in no circle. Figures see interpolation alone.
"""

import ast
from pathlib import Path

import pytest

from hw2lib.io.paths import ROOT

FLOORS = [
    ("errors", "device", "metrics", "interpolation"),
    ("diffusion", "io"),
    ("samplers", "training", "datasets"),
    ("models", "evaluators", "adaptation"),
    ("experiments",),
    ("studies", "commands"),
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted((ROOT / "hw2lib").rglob("*.py"))
MATHEMATICS = ("diffusion", "samplers", "interpolation", "adaptation", "metrics", "device")
TO_READ = 2100  # lines of the modules on top and of models/
LIBRARY = 8200  # lines of everything


def name_of(file: Path) -> str:
    """ "io.paths" of hw2lib/io/paths.py."""
    parts = file.relative_to(ROOT / "hw2lib").with_suffix("").parts
    return ".".join(parts).removesuffix("__init__").rstrip(".")


MODULES = {name_of(file): file for file in FILES}


def imports(file: Path) -> set[str]:
    """Modules of hw2lib that a file imports, inside functions too, but not for types alone."""
    tree = ast.parse(file.read_text())
    for node in [n for n in ast.walk(tree) if isinstance(n, ast.If)]:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hw2lib":
            package = node.module.removeprefix("hw2lib").lstrip(".")
            names = [f"{package}.{alias.name}".lstrip(".") for alias in node.names]
            found |= {name if name in MODULES else package for name in names}
    return found - {""}


def room(module: str) -> str:
    return module.split(".")[0]


IMPORTS = {name: imports(file) for name, file in MODULES.items() if name}


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_fall_in_one_direction(module):
    for other in IMPORTS[module]:
        if room(module) == "figures":
            assert other in ("figures.base", "interpolation"), f"{module} imports {other}"
        else:
            assert room(other) != "figures", f"{module} imports {other}; notebooks draw"
            assert FLOOR[room(other)] <= FLOOR[room(module)], (
                f"{module} imports {other}, which stands above it: {FLOORS}"
            )


def test_no_import_leads_back():
    above: list[str] = []

    def follow(module: str) -> None:
        assert module not in above, f"a circle: {' -> '.join([*above, module])}"
        above.append(module)
        for other in IMPORTS.get(module, ()):
            follow(other)
        above.pop()

    for module in IMPORTS:
        follow(module)


@pytest.mark.parametrize("module", [name for name in IMPORTS if len(MODULES[name].read_text()) > 2])
def test_every_module_has_its_own_tests(module):
    *rooms, name = module.split(".")
    assert ROOT.joinpath("tests", *rooms, f"test_{name}.py").is_file()


@pytest.mark.parametrize("module", MATHEMATICS)
def test_mathematics_knows_no_folder(module):
    assert not any(other.startswith("io") for other in IMPORTS[module])


def test_what_a_student_reads_is_short():
    lines = {name: len(file.read_text().splitlines()) for name, file in MODULES.items()}
    top = sum(n for name, n in lines.items() if "." not in name or room(name) == "models")
    assert top < TO_READ, f"{top} lines on top and in models; {TO_READ} are enough"
    assert sum(lines.values()) < LIBRARY
