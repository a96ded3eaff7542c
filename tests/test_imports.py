"""The house: imports fall in one direction, and what a student reads stays short.

    errors, device, metrics, interpolation <- diffusion, io <- samplers, training, datasets
    <- models, evaluators, adaptation <- experiments <- studies, commands

Rooms of one line may import each other, but in no circle. Figures see interpolation alone.
"""

import ast
from pathlib import Path

import pytest

from hw2lib import _MODULE_OF
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
TO_READ = 2046  # lines of the modules on top and of models/
LIBRARY = 8604  # lines of everything


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
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: line {node.lineno}: write the module's full name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("hw2lib."):
                inside = name.removeprefix("hw2lib.")
                inside = _MODULE_OF.get(inside, inside)  # a public name is its module's
                found.add(inside if inside in MODULES else inside.rpartition(".")[0])
    return found - {""}


def room(module: str) -> str:
    return module.split(".")[0]


IMPORTS = {name: imports(file) for name, file in MODULES.items() if name}
TO_BE_READ = [name for name in IMPORTS if "." not in name or room(name) == "models"]


def test_every_room_has_its_floor():
    assert {room(module) for module in IMPORTS} == {*FLOOR, "figures"}


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


@pytest.mark.parametrize("module", sorted({*TO_BE_READ} - {"training"}))
def test_mathematics_and_networks_know_no_folder(module):
    """Training writes checkpoints; networks read weights and settings that they are given."""
    barred = "io.paths" if room(module) == "models" else "io"
    found = [other for other in IMPORTS[module] if other.startswith(barred)]
    assert not found, f"{module} imports {', '.join(found)}; it may not know {barred}"


def test_what_a_student_reads_is_short():
    lines = {name: len(file.read_text().splitlines()) for name, file in MODULES.items()}
    top = sum(n for name, n in lines.items() if "." not in name or room(name) == "models")
    assert top < TO_READ, f"{top} lines on top and in models; {TO_READ} are enough"
    total = sum(lines.values())
    assert total < LIBRARY, f"{total} lines in hw2lib; {LIBRARY} are enough"
