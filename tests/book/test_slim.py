"""hw2slim: what nobody reads is gone, and what a page shows is still there."""

import json
import sys

from helpers.bookcopy import EXTENSIONS

sys.path.insert(0, str(EXTENSIONS))

import hw2slim


def write(folder, **files):
    for name, text in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_equal_images_are_one_file_and_every_page_finds_it(tmp_path):
    write(tmp_path, _images__a="same", _images__b="same", _images__c="other")
    write(tmp_path, one='<img src="_images/b">', deep__two='<img src="../_images/b"><i src="c">')
    for page in (tmp_path / "one", tmp_path / "deep" / "two"):
        page.rename(page.with_suffix(".html"))
    for _ in range(2):  # a second build finds it done
        hw2slim.share_images(tmp_path)
        assert sorted(file.name for file in (tmp_path / "_images").iterdir()) == ["a", "c"]
        assert (tmp_path / "one.html").read_text() == '<img src="_images/a">'
        assert "../_images/a" in (tmp_path / "deep" / "two.html").read_text()


def test_downloaded_notebooks_keep_their_numbers(tmp_path):
    data = {"image/png": "AAAA", "text/plain": "0.98"}
    cells = [{"outputs": [{"data": data}, {"name": "stdout", "text": "1"}]}, {"source": "# text"}]
    file = tmp_path / "executed" / "dann.ipynb"
    file.parent.mkdir()
    file.write_text(json.dumps({"cells": cells}))
    hw2slim.drop_pictures(tmp_path)
    first, last = json.loads(file.read_text())["cells"]
    assert first["outputs"] == [{"data": {"text/plain": "0.98"}}, cells[0]["outputs"][1]]
    assert last == cells[1]


def test_the_themes_maps_and_second_fonts_go(tmp_path):
    fonts = tmp_path / "vendor" / "fontawesome" / "webfonts"
    fonts.mkdir(parents=True)
    kept = [fonts / "a.woff2", tmp_path / "STIX.ttf", tmp_path / "x.js"]
    for file in [*kept, fonts / "a.ttf", tmp_path / "x.js.map"]:
        file.touch()
    (tmp_path / "locales").mkdir()
    hw2slim.drop_unread(tmp_path)
    assert sorted(f for f in tmp_path.rglob("*") if f.is_file()) == sorted(kept)
    assert not (tmp_path / "locales").exists()
