"""The names of `import hw2lib`, the README's Python, and the package outside its clone."""

import ast
import inspect
import os
import re
import subprocess
import sys
import zipfile

import pytest
from helpers.environment import ROOT

import hw2lib

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_the_import_loads_no_torch():
    code = "import sys, hw2lib; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_seen_by_type_checkers():
    for name in hw2lib.__all__:
        assert getattr(hw2lib, name).__doc__, name
    assert set(hw2lib.__all__) <= set(dir(hw2lib))
    tree = ast.parse(inspect.getsource(hw2lib))
    seen = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("hw2lib.")
        for alias in node.names
    }
    assert seen == {(f"hw2lib.{module}", name) for name, module in hw2lib._MODULE_OF.items()}


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="sample_cats"):
        hw2lib.sample_cats  # noqa: B018


@pytest.mark.parametrize("block", BLOCKS, ids=["digits", "adapt"])
def test_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block, names)
    if "row" in names:
        assert len(block.splitlines()) <= 10 and (tmp_path / "digits.png").stat().st_size > 1000
    else:
        assert names["read"].shape == names["target"].shape[:1]


@pytest.mark.skipif(not os.environ.get("HW2_SLOW"), reason="builds a wheel: HW2_SLOW=1")
def test_the_package_works_outside_its_clone(tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    build = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=clone, check=True)
    (wheel,) = clone.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)  # what pip does with a pure package
    environ = {k: v for k, v in os.environ.items() if not k.startswith("HW2_")}
    environ["PYTHONPATH"] = str(site)
    noise = site / "hw2lib" / "data" / "noise"
    commands = [
        ["sample-digits", "digits", "--per-digit", "1", "--steps", "2"],
        ["sample-faces", str(noise), "faces", "--steps", "2"],
        ["classify", "digits", "digits.csv", "--target", "mnistm"],
    ]
    program = f"from hw2lib.commands.cli import main; [main(argv) for argv in {commands}]"
    subprocess.run([sys.executable, "-c", program], cwd=empty, env=environ, check=True)
    assert {path.name for path in empty.iterdir()} == {"digits", "faces", "digits.csv"}
    assert len(list((empty / "faces").iterdir())) == 10
    assert len((empty / "digits.csv").read_text().splitlines()) == 11
