"""paths: where things lie, and files that are whole or not there."""

from pathlib import Path

import pytest

from hw2lib.errors import UserError
from hw2lib.io import paths
from hw2lib.io.paths import atomic_write, writable_dir


def test_the_root_is_the_repository():
    assert (paths.ROOT / "hw2lib" / "io" / "paths.py").is_file()


@pytest.mark.parametrize(
    ("variable", "function", "default"),
    [("HW2_DATA", paths.data_dir, "data"), ("HW2_BUILD", paths.build_dir, "build")],
)
def test_a_variable_names_another_folder(monkeypatch, tmp_path, variable, function, default):
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    assert function() == tmp_path / "elsewhere"
    for unset in (lambda: monkeypatch.setenv(variable, ""), lambda: monkeypatch.delenv(variable)):
        unset()
        assert function() == paths.ROOT / default


def test_an_installed_package_writes_where_one_stands(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "CLONE", False)
    monkeypatch.chdir(tmp_path)
    for variable in ("HW2_DATA", "HW2_BUILD"):
        monkeypatch.delenv(variable, raising=False)
    assert (paths.data_dir(), paths.build_dir()) == (tmp_path / "data", tmp_path / "build")


@pytest.mark.parametrize("value", ["~/hw2", "relative"])
def test_folders_are_absolute_wherever_one_stands(monkeypatch, tmp_path, value):
    """papermill and nbval stand in different folders; a path must not change with them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HW2_DATA", value)
    assert paths.data_dir() == tmp_path / Path(value).name


def test_runs_lie_below_build(monkeypatch, tmp_path):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path))
    assert paths.runs_dir() == tmp_path / "runs"


def test_writable_dir_makes_the_folder_and_leaves_nothing_in_it(tmp_path):
    folder = writable_dir(tmp_path / "a" / "b")
    assert folder.is_dir() and not list(folder.iterdir())
    assert writable_dir(str(folder)) == folder


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot be written") as caught:
            writable_dir(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_without_permission_is_one_line(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(paths.tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match="cannot be written .Permission denied.; name another"):
        writable_dir(tmp_path)


def test_atomic_write_replaces_the_file_at_the_end(tmp_path):
    file = tmp_path / "new" / "file"
    for text in ("first", "second"):
        with atomic_write(file) as part:
            assert part.parent == file.parent  # a rename within one file system
            part.write_text(text)
            assert not file.exists() or file.read_text() != text
        assert file.read_text() == text
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("old", ["old", None])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_write_leaves_the_old_file_when_the_block_raises(tmp_path, old, error):
    file = tmp_path / "file"
    if old:
        file.write_text(old)
    with pytest.raises(error), atomic_write(file) as part:
        part.write_text("half of the n")
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == ([old] if old else [])


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "file"):
        pass


@pytest.mark.parametrize("text", ["~nobodyx/run", "a\0b"])
def test_a_path_that_is_none_is_one_line(text, monkeypatch):
    with pytest.raises(UserError, match="cannot be read .*; write it in full") as caught:
        paths.place(text)
    assert "\n" not in str(caught.value)
    if "\0" not in text:  # which no variable can hold
        monkeypatch.setenv("HW2_DATA", text)
        with pytest.raises(UserError, match="~nobodyx"):
            paths.data_dir()


def test_a_tilde_is_read_once_wherever_something_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with atomic_write("~/a/file") as part:
        part.write_text("x")
    writable_dir("~/b")
    with paths.locked("~/c"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home"]
    assert sorted(p.name for p in (tmp_path / "home").iterdir()) == ["a", "b"]


def test_a_data_folder_that_leads_to_itself_or_nowhere(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("HW2_DATA", str(tmp_path / "loop"))
    with pytest.raises(UserError, match="HW2_DATA=.*loop leads nowhere"):
        paths.data_dir()
    monkeypatch.setenv("HW2_DATA", str(tmp_path / "none"))
    with pytest.raises(UserError, match="HW2_DATA=.*none is no folder"):
        paths.check_data_dir()
    monkeypatch.delenv("HW2_DATA")
    paths.check_data_dir()


def test_what_a_killed_process_left_goes_and_what_another_holds_stays(tmp_path):
    for dead in (".file.99999.part", ".file.88888.part"):
        (tmp_path / dead).touch()
    with paths.temporary(tmp_path, "file") as held:
        other = held.rename(tmp_path / ".file.77777.part")  # held by a process that lives
        with atomic_write(tmp_path / "file") as part:
            part.write_text("x")
        assert sorted(tmp_path.iterdir()) == [other, tmp_path / "file"]
    with paths.temporary(tmp_path, "file", directory=True) as part:
        (part / "inside").touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_a_new_file_never_replaces_another(tmp_path):
    file = tmp_path / "o.csv"
    with pytest.raises(UserError, match="o.csv exists"), atomic_write(file, new=True) as part:
        part.write_text("ours")
        file.write_text("a rival's, written meanwhile")
    assert file.read_text().startswith("a rival's")
    with pytest.raises(UserError, match="exists"), atomic_write(file, new=True):
        pytest.fail("the block ran")


def test_an_error_of_the_disk_names_the_file(tmp_path):
    with pytest.raises(OSError) as caught, atomic_write(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "file")


def test_one_process_works_in_a_folder(tmp_path):
    with (
        paths.locked(tmp_path / "run"),
        pytest.raises(UserError, match="another process is at work in .*run; wait"),
        paths.locked(tmp_path / "run"),
    ):
        pytest.fail("the block ran")
    assert not (tmp_path / "run").exists()  # nothing was made in it


def test_a_build_folder_that_was_made_here_is_marked(tmp_path, monkeypatch):
    for name, there in (("new", None), ("empty", ""), ("used", "mine")):
        build = tmp_path / name
        monkeypatch.setenv("HW2_BUILD", str(build))
        if there is not None:
            build.mkdir()
            (build / there).mkdir(exist_ok=True)
        writable_dir(build / "runs" / "a")
        assert (build / paths.MADE).is_file() == (name != "used")


def test_what_takes_a_name_is_on_the_disk_before_and_the_name_after(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        paths, "synced", lambda path: synced.append((path, (tmp_path / "file").exists()))
    )
    with atomic_write(tmp_path / "file") as part:
        part.write_text("x")
    assert synced == [(part, False), (tmp_path, True)]
