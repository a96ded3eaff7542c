"""Every test runs on embedded data, in a build folder of its own, on one thread.

So no test passes or fails by what lies on this machine. Only tests named `test_real_*` see the
HW2_DATA and HW2_BUILD of whoever runs them.
"""

import os

import pytest

THEIRS = {name: os.environ.get(name) for name in ("HW2_DATA", "HW2_BUILD")}


LONGEST = {"test_faults.py", "test_graph.py", "test_page.py", "test_shell.py"}  # files of minutes


def pytest_collection_modifyitems(items):
    """They come first: else one worker begins a long file when the others have nothing left."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """HW2_BUILD is a temporary folder, HW2_DATA is not set; one thread, so that bytes agree."""
    import torch  # here, as a process that only hands out tests needs none

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HW2_BUILD", str(tmp_path_factory.mktemp("build")))
        patch.delenv("HW2_DATA", raising=False)
        yield


@pytest.fixture(autouse=True)
def real_data_where_asked_for(request, own_folders, monkeypatch):
    """Gives `test_real_*` the folders of whoever runs them back."""
    if request.node.name.startswith("test_real_"):
        for name, value in THEIRS.items():
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def seeded():
    """torch's global generator starts alike in every test, whichever tests ran before."""
    import torch

    torch.manual_seed(0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder, and a build folder of its own."""
    monkeypatch.setenv("HW2_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "build"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"
