"""The cache: made once for each key, made again when damaged, and never half there."""

import numpy as np
import pytest

from hw2lib.io.cache import kept, used


class Make:
    """Counts its calls; what it returns differs from call to call."""

    times = 0

    def __call__(self):
        self.times += 1
        return {"images": np.full((2, 3), self.times, np.uint8), "score": 0.1, "text": "a"}


@pytest.fixture
def make():
    return Make()


@pytest.fixture(autouse=True)
def build(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "build"))
    return tmp_path / "build"


def test_made_once_and_found_as_it_was(make, build):
    first, spared = kept("name", {"a": (1, 2.5)}, make)
    assert spared == 0
    again, spared = kept("name", {"a": [1, 2.5]}, make)  # a tuple is a list, as in JSON
    assert make.times == 1 and spared > 0 and list(again) == list(first)
    for field, value in first.items():
        assert again[field].dtype == value.dtype and np.array_equal(again[field], value)
    assert again["score"].item() == 0.1 and str(again["text"]) == "a"
    (file,) = build.rglob("name-*.npz")
    assert file.parent == build / "cache" and used[-2:] == [file, file]


def test_another_key_is_made_anew(make):
    x = np.arange(4.0)
    keys = [1, 2, {"a": 1}, x, x + 1, x.reshape(2, 2), x.astype(np.float32), [x, x]]
    for key in keys:
        kept("name", key, make)
    assert make.times == len(keys)
    kept("other", 1, make)
    assert make.times == len(keys) + 1
    kept("name", x[::-1][::-1], make)  # the same values, not in one piece
    assert make.times == len(keys) + 1


def test_a_folder_of_its_own(make, tmp_path, build):
    kept("name", 1, make, tmp_path / "run")
    assert len(list((tmp_path / "run").iterdir())) == 1 and not build.exists()


@pytest.mark.parametrize("size", [0, 50, 300])
def test_a_damaged_file_is_made_again(make, build, size):
    kept("name", 1, make)
    (file,) = build.rglob("name-*.npz")
    file.write_bytes(file.read_bytes()[:size])
    assert kept("name", 1, make)[0]["images"][0, 0] == 2
    assert kept("name", 1, make)[0]["images"][0, 0] == 2


def test_a_file_with_other_bytes_inside_is_made_again(make, build):
    kept("name", 1, make)
    (file,) = build.rglob("name-*.npz")
    file.write_bytes(file.read_bytes().replace(bytes(6 * [1]), bytes(6 * [7])))
    assert kept("name", 1, make)[0]["images"][0, 0] == 2


def test_a_making_that_fails_leaves_nothing(build):
    def fail():
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        kept("name", 1, fail)
    assert not list(build.rglob("*.npz"))


@pytest.mark.parametrize("value", [object(), np.array([object()]), {1, 2}])
def test_a_key_whose_value_is_not_known_is_refused(make, value):
    with pytest.raises(TypeError, match="JSON's types and arrays are right"):
        kept("name", [value], make)
    assert make.times == 0
