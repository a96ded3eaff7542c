"""The short form of the campaign: every bad input, two chains of kills, a full disk, damage."""

import os

import pytest
import torch
from faults import campaign, inputs
from faults.commands import make_weights, told
from faults.disks import FULL, READ_ONLY, disks
from faults.inputs import data, results
from faults.inputs.base import fault, noise, picture, said
from helpers.files import save

from hw2lib.datasets import files
from hw2lib.models.face_unet import FaceUNet


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("case", inputs.CASES, ids=lambda case: case.name)
def test_a_bad_input_is_one_line(case, weights, tmp_path):
    assert not fault(case, tmp_path, weights, told)


def test_no_two_cases_bear_one_name():
    names = [case.name for case in inputs.CASES]
    assert len(set(names)) == len(names) > 150


@pytest.mark.parametrize("name", results.RESULTS)
def test_a_broken_result_file_is_named(tmp_path, name):
    line = results.read_result(tmp_path, results.RESULTS[name])
    assert "made.json" in line and "\n" not in line
    assert not results.read_result(tmp_path, results.result_text())


@pytest.mark.parametrize("name", data.USPS)
def test_a_line_of_usps_that_is_none(tmp_path, name):
    change, words = data.USPS[name]
    save(tmp_path / "usps.bz2", data.usps(change))
    line = said(files.read_usps, tmp_path / "usps.bz2")
    assert "usps.bz2" in line and words in line and "\n" not in line
    save(tmp_path / "usps.bz2", data.usps(lambda line: line))
    assert not said(files.read_usps, tmp_path / "usps.bz2")


@pytest.mark.parametrize("name", data.SVHN)
def test_an_npz_of_svhn_that_is_none(tmp_path, name):
    content, words = data.SVHN[name]
    save(tmp_path / "crops.npz", content)
    line = said(files.read_svhn, tmp_path / "crops.npz")
    assert "crops.npz" in line and words in line and "\n" not in line


def test_kills_at_random_moments_change_nothing(tmp_path):
    chains = int(os.environ.get("FAULTS_CHAINS", "2"))
    right, killed = campaign.kills(tmp_path, chains)
    assert right == chains and killed


@pytest.mark.parametrize("before", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_a_full_or_read_only_disk_is_one_line(tmp_path, weights, before):
    assert disks(tmp_path, weights, before) == ([], 6)


def test_damaged_files_are_read_or_refused(tmp_path):
    found = campaign.mutations(tmp_path, int(os.environ.get("FAULTS_MUTATIONS", "40")))
    assert found == {kind: [] for kind in found}


@pytest.mark.parametrize("what", ["digits", "small images"])
def test_memory_does_not_grow_with_the_number(tmp_path, weights, what):
    """It is that of a batch: 500 digits, 1,000 small images take little more than a few."""
    campaign.small_images(tmp_path, 1000)
    few = picture(tmp_path / "few" / "0.png").parent

    def command(out, folder, per_digit):
        if what == "digits":
            return ["sample-digits", out, "--weights", weights / "digits.safetensors", "--steps", 2,
                    "--per-digit", per_digit]  # fmt: skip
        return ["classify", folder, f"{out}.csv", "--target", "usps"]

    least, _ = campaign.used(command("a", few, 5), tmp_path)
    most, _ = campaign.used(command("b", tmp_path / "small", 50), tmp_path)
    assert most - least < 125


def test_a_course_size_face_stays_below_two_gib(tmp_path):
    with torch.device("meta"):  # random weights of this many take seconds
        state = FaceUNet().state_dict()
    torch.save({k: torch.zeros(v.shape) for k, v in state.items()}, tmp_path / "UNet.pt")
    noise(tmp_path, torch.randn(1, 3, 256, 256))
    most, _ = campaign.used(["sample-faces", "n", "faces", "--steps", 1, "--weights", "UNet.pt"],
                            tmp_path)  # fmt: skip
    assert most < 2048


def test_huge_images_do_not_add_up_in_memory(tmp_path):
    """Two pictures of 64 million pixels take what one takes: four threads took 3.7 GiB."""
    small = picture(tmp_path / "small" / "0.png").parent
    least, _ = campaign.used(["classify", small, "small.csv", "--target", "usps"], tmp_path)
    most, _ = campaign.used(campaign.huge_images(tmp_path, 2), tmp_path)
    assert most - least < 800
