"""course: the course's folder, right and wrong, as tiny files made here."""

import os

import pytest
import torch
from helpers.files import make_course, save
from helpers.lines import one_line
from PIL import Image

from hw2lib.datasets import course, digits
from hw2lib.errors import UserError


@pytest.mark.parametrize("below", ["hw2_data", "."])
@pytest.mark.parametrize(("name", "mode"), [("usps", "L"), ("svhn", "RGB"), ("mnistm", "RGB")])
def test_course_layout(folder, below, name, mode):
    make_course(folder, name, mode=mode, below=below)
    domain = digits.load(name)
    assert domain.data == "course" and len(domain.train) == 20 and len(domain.test) == 10
    assert domain.train.images[7, 0].unique().tolist() == [7]
    assert domain.train.images[7, 2].unique().tolist() == [7 if mode == "L" else 3]
    again = digits.load(name)
    assert again.sha256 == domain.sha256 and len(domain.sha256) == 4
    assert torch.equal(again.test.images, domain.test.images)


def test_course_cache_notices_a_changed_image(folder):
    base = make_course(folder)
    before = digits.load("usps")
    Image.new("L", (28, 28), 99).save(base / "data/train0.png")
    os.utime(base / "data/train0.png", ns=(1, 1))
    after = digits.load("usps")
    assert after.train.images[0].unique().tolist() == [99]
    assert before.sha256 != after.sha256


def test_course_image_of_wrong_size(folder):
    make_course(folder, size=32)
    with pytest.raises(UserError) as error:
        digits.load("usps")
    assert "train0.png is 32x32" in one_line(error) and "28x28 would be right" in one_line(error)


@pytest.mark.parametrize("text", ["", "name,label\na.png,1", "train0.png,3\n", "label,image_name"])
def test_course_csv_without_header(folder, text):
    base = make_course(folder)
    (base / "val.csv").write_text(text)
    with pytest.raises(UserError) as error:
        digits.load("usps")
    assert "val.csv" in one_line(error) and "header image_name,label" in one_line(error)


@pytest.mark.parametrize("row", ["a.png", "a.png,", "a.png,ten", "a.png,10", "a.png,-1"])
def test_course_csv_with_a_bad_line(tmp_path, row):
    save(tmp_path / "train.csv", f"image_name,label\nb.png,1\n{row}\n".encode())
    with pytest.raises(UserError, match=r"train.csv line 3"):
        course.read_labels(tmp_path / "train.csv")


def test_course_csv_gives_names_and_labels(tmp_path):
    save(tmp_path / "a.csv", b"image_name,label\na.png,3\n\nb.png,4")
    names, labels = course.read_labels(tmp_path / "a.csv")
    assert names == ["a.png", "b.png"] and labels.tolist() == [3, 4]


def test_course_image_missing_or_damaged(folder):
    base = make_course(folder)
    save(base / "data/train3.png", b"\x89PNG no picture")
    with pytest.raises(UserError, match="train3.png cannot be read"):
        digits.load("usps")
    (base / "data/train3.png").unlink()
    with pytest.raises(UserError, match="train3.png is missing"):
        digits.load("usps")
