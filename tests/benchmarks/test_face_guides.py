"""face_guides: where the guide acts, and that the recorded cells are those of the program."""

import face_guides
import pytest
import torch
from face_guides import CHOSEN, NETWORKS, TRIED, Cell, Faces, guide_preset, steered
from helpers.recorded import recorded

from hw2lib.experiments.ddim import FACE_PRESETS, load_face_unet
from hw2lib.io import results
from hw2lib.models.face_unet import TINY, FaceUNet
from hw2lib.studies.ddim import Sampler

HEADER = {"schedule": "linear", "n_train_steps": 1000, "prediction": "v", "size": 16}


@pytest.mark.parametrize(("t", "w", "expected"), [(700, 0.5, 4.0), (700, 0, 3.0), (299, 0.5, 3.0)])
def test_the_model_is_steered_away_from_the_guide_within_the_interval(t, w, expected):
    predict = steered(lambda x, t: 0 * x + 3, lambda x, t: 0 * x + 1, w, (300, 1000))
    x = torch.zeros(2, 3, 4, 4)
    assert torch.equal(predict(x, torch.full((2,), t)), x + expected)


def test_a_pass_of_each_network_counts():
    assert Cell(10).evaluations() == 10 and Cell(10, "early", 0.5).evaluations() == 20
    assert Cell(10, "early", 0.5, face_guides.LATE).evaluations() == 15


def test_a_guide_is_the_shipped_network_trained_for_less_or_with_half_the_channels():
    shipped = load_face_unet()[0].config
    assert NETWORKS["early"] == shipped
    assert [2 * n for n in NETWORKS["half"].widths] == list(shipped.widths)
    for guide in NETWORKS:
        preset = guide_preset(guide)
        assert preset.train.steps * preset.train.batch_size < FACE_PRESETS["full"].train.steps * 10


def test_cells_start_from_the_same_noises_and_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path))
    monkeypatch.setattr(face_guides, "trained_guide", lambda name: tmp_path / name)
    (tmp_path / "early").touch()
    networks = [FaceUNet(TINY).eval() for _ in range(2)]
    monkeypatch.setattr(face_guides.ddim, "load_face_unet", lambda _: (networks[1], HEADER))
    cells = Faces(Sampler(networks[0], HEADER), None)
    plain, none, some = (
        cells.block(cell, range(2))
        for cell in (Cell(3), Cell(3, "early", 0.0), Cell(3, "early", 1.0))
    )
    torch.testing.assert_close(plain, none)
    assert (plain - some).abs().max() > 0.01
    networks[1] = None  # kept: the guide is asked no more
    assert torch.equal(some, cells.block(Cell(3, "early", 1.0), range(2)))


def test_the_recorded_cells_are_those_of_the_program_and_the_best_that_were_tried():
    records = recorded("faces-guides")["records"]
    drawn = [cell for chosen in CHOSEN for cell in (Cell(chosen.evaluations()), chosen)]
    for row, cells in (("tried", TRIED), ("drawn", drawn)):
        found = [r["setting"] for r in results.select(records, row, "frechet")]
        assert found == [
            {k: list(v) if isinstance(v, tuple) else v for k, v in cell.setting().items()}
            for cell in cells
        ]
    for cell in CHOSEN:
        tried = results.select(records, "tried", "frechet", steps=cell.steps)
        best = min(tried, key=lambda r: r["mean"])["setting"]
        assert (best["guide"], best["w"], tuple(best["interval"])) == (
            cell.guide,
            cell.w,
            cell.interval,
        )
