"""The set-up: the lock, environment.yml, versions, and what must never be committed."""

import ast
import json
import re
import subprocess
import tomllib

import pytest
import yaml
from helpers.environment import ROOT, environment, hashed, locked

import hw2lib

# Written in parts, so that this file does not name them itself.
HOSTS = ["pypi" + ".org", "registry." + "npmjs", "files." + "pythonhosted", "deb." + "debian"]


def tracked() -> list:
    try:
        names = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    return [ROOT / name for name in names.stdout.splitlines() if (ROOT / name).is_file()]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_version_is_pinned_with_its_digests():
    assert len(locked()) > 50
    for line, digests in hashed().items():
        assert re.match(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ ;]+( ; .+)?$", line), line
        assert digests and all(re.match("^sha256:[0-9a-f]{64}$", d) for d in digests), line


def test_what_is_asked_for_is_locked():
    """By the library, by its extra and by each group; a version that is asked for is locked."""
    versions = {name.lower(): version for name, version in
                (line.split(" ;")[0].split("==") for line in locked())}  # fmt: skip
    asked = [*project()["project"]["dependencies"]]
    for group in (*project()["dependency-groups"].values(),
                  *project()["project"]["optional-dependencies"].values()):  # fmt: skip
        asked += group
    assert len(asked) > 30
    for line in asked:
        name, version = re.match(r"^([A-Za-z0-9._-]+)(?:\[.+\])?(?:==(.+))?", line).groups()
        assert name.lower() in versions, name
        assert version in (None, versions[name.lower()]), line


def test_the_library_asks_for_nothing_of_its_clone():
    """Who only imports it installs neither Jupyter nor Snakemake; the lock has every group."""
    library = " ".join(project()["project"]["dependencies"])
    groups = project()["dependency-groups"]
    for group in groups.values():
        assert not any(re.split("[=<>]", line)[0] in library for line in group)
    lock = (ROOT / "Makefile").read_text().split("lock:")[1].split("environment.yml")[0]
    assert re.findall(r"--group (\w+)", lock) == [*groups]


def test_environment_equals_lock():
    assert (ROOT / "environment.yml").read_text() == environment()
    parsed = yaml.safe_load(environment())["dependencies"][-1]["pip"]
    assert parsed[:-1] == locked()


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == hw2lib.__version__
    assert "version" in project()["project"]["dynamic"]


def test_no_path_of_a_machine_and_no_registry():
    home = re.compile("/" + r"(home|root|Users)/[a-z]|/work" + "/|/tmp" + "/v/")
    for file in tracked():
        if file.suffix in (".safetensors", ".pt", ".png", ".woff2"):
            continue
        text = file.read_text(errors="replace")
        assert not home.search(text), file
        assert not any(host in text for host in HOSTS), file


def test_files_are_small_and_weights_are_safetensors():
    for file in tracked():
        assert file.stat().st_size <= 16 * 2**20, file
        assert file.suffix not in (".pth", ".ckpt", ".pkl", ".npz"), file


@pytest.mark.parametrize("name", ["cfdg", "ddim", "dann"])
def test_notebooks_are_stripped_and_narrow(name):
    book = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(code) <= 25
    for cell in code:
        assert cell["outputs"] == [] and cell["execution_count"] is None
        for line in "".join(cell["source"]).splitlines():
            assert len(line) <= 78, line
    tags = [cell["metadata"].get("tags", []) for cell in code]
    assert sum("parameters" in t for t in tags) == 1


def code_of(name: str) -> list:
    """(tags, source) of each code cell."""
    book = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
    return [(cell["metadata"].get("tags", []), "".join(cell["source"]))
            for cell in book["cells"] if cell["cell_type"] == "code"]  # fmt: skip


@pytest.mark.parametrize("name", ["cfdg", "ddim", "dann"])
def test_notebooks_parameters_are_typed_and_commented_and_their_cells_short(name):
    for tags, source in code_of(name):
        lines = source.splitlines()
        assert len(lines) < 25, source
        if "parameters" in tags:
            for line in lines:
                assert re.fullmatch(r"[a-z_]+: (str|int|float|bool) = .+  # .+", line), line
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 10, node.name


@pytest.mark.parametrize("name", ["cfdg", "ddim"])
def test_notebooks_record_with_the_weights_they_loaded(name):
    """Else a quick or embedded model's numbers could enter the report: see results.write."""
    nodes = [node for _, source in code_of(name) for node in ast.walk(ast.parse(source))]
    calls = [node for node in nodes if isinstance(node, ast.Call)
             and ast.unparse(node.func) == "results.write"]  # fmt: skip
    assert calls
    for call in calls:
        assert "weights" in {keyword.arg for keyword in call.keywords}
