"""The digest of a job's code: what Python runs, through all imports, and nothing else."""

import code_digest
import pytest


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """hw2lib/a imports b inside a function, b imports c for types alone; benchmarks/d imports a."""
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    monkeypatch.setattr(code_digest, "SETTINGS", {"hw2lib/b.py": ("ROWS", "ONE", "TWO")})
    texts = {
        "hw2lib/a.py": "def f():\n    from hw2lib import b\n    return b\n",
        "hw2lib/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
                       "    from hw2lib.c import X\nROWS = {'a': 1}\nONE, TWO = 1, 2\nX: int = 3\n",
        "hw2lib/c.py": "X = 1\n",
        "benchmarks/d.py": "import a\nfrom hw2lib.a import f\n",
        "notebooks/n.ipynb": '{"cells": [{"cell_type": "markdown", "source": ["import c"]},'
                             '{"cell_type": "code", "source": ["import hw2lib.c\\n", "1"]}]}',
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def digest(clone, *files, **options):
    for known in (code_digest.tree, code_digest.imported, code_digest._of_file,
                  code_digest._digest):  # fmt: skip
        known.cache_clear()
    return code_digest.digest(files, **options)


def test_imports_are_followed_wherever_they_stand(clone):
    digest(clone, "benchmarks/d.py")
    names = [file.name for file in code_digest.closure(["benchmarks/d.py"])]
    assert names == ["d.py", "a.py", "b.py"]
    names = [file.name for file in code_digest.closure(["notebooks/n.ipynb"])]
    assert names == ["c.py", "n.ipynb"]


@pytest.mark.parametrize(
    ("file", "old", "new", "same"),
    [
        ("hw2lib/b.py", "X: int = 3", "X: int = 4", False),
        ("hw2lib/b.py", "X: int = 3", '"""Words."""\nX: int  =  3  # a comment', True),
        ("hw2lib/a.py", "def f():\n", 'def f():\n    "Words."\n', True),
        ("hw2lib/a.py", "return b", "return [b]", False),
        ("hw2lib/c.py", "X = 1", "X = 2", True),  # for types alone
        ("benchmarks/d.py", "import a", "import a, os", False),
    ],
)
def test_what_python_runs_counts(clone, file, old, new, same):
    before = digest(clone, "benchmarks/d.py")
    text = (clone / file).read_text()
    assert old in text
    (clone / file).write_text(text.replace(old, new))
    assert (digest(clone, "benchmarks/d.py") == before) == same


@pytest.mark.parametrize(("old", "new"), [("'a': 1", "'a': 2"), ("1, 2", "1, 5")])
def test_tables_of_settings_count_only_where_they_are_code(clone, old, new):
    both = [digest(clone, "hw2lib/a.py", tables=tables) for tables in (True, False)]
    file = clone / "hw2lib" / "b.py"
    file.write_text(file.read_text().replace(old, new))
    assert digest(clone, "hw2lib/a.py", tables=True) != both[0]
    assert digest(clone, "hw2lib/a.py", tables=False) == both[1]
