"""face_solvers: three samplers from the same noises, and the records of their distances."""

import face_solvers
import pytest
import torch
from helpers.names import names

from hw2lib.experiments import ddim
from hw2lib.io.paths import RESULTS
from hw2lib.io.results import load, one
from hw2lib.models.face_unet import TINY, FaceUNet
from hw2lib.studies.ddim import Sampler

HEADER = {"schedule": "linear", "n_train_steps": 1000, "prediction": "v"}


@pytest.fixture
def draw(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path))
    torch.manual_seed(0)
    return Sampler(FaceUNet(TINY).eval(), HEADER | {"size": 16})


def test_ddim_is_what_the_command_draws_and_the_solvers_differ_in_more_than_one_step(draw):
    noise = draw.starts(range(2))
    drawn = ddim.sample_faces(draw.predict, HEADER, noise, ddim.Sampling(4), batch=2)
    assert torch.equal(face_solvers.block(draw, "ddim", 4, range(2)), drawn.half().float())
    for steps, least, most in ((1, 0, 2e-3), (4, 0.02, 2)):
        first, second = (
            face_solvers.block(draw, row, steps, range(2)) for row in ("ddim, other times", "dpmpp")
        )
        assert least <= (first - second).abs().max() <= most


def test_errors_and_distances_have_the_recorded_names(draw, monkeypatch):
    monkeypatch.setattr(face_solvers, "FEW", 3)
    monkeypatch.setattr(face_solvers, "LIMIT", 60)
    monkeypatch.setattr(face_solvers, "BLOCK", 9)

    class Eye:
        def embed(self, images):
            return images.flatten(1)[:, :4].double()

    real = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).double()
    recorded = load("faces-solvers", RESULTS)["records"]
    steps = sorted({r["setting"]["steps"] for r in recorded if r["score"] == "frechet"})
    records = face_solvers.errors(draw)
    records += face_solvers.distances(draw, Eye(), real, 20, steps)
    assert names(records) == names(recorded)
    n = steps[0]
    found = {row: one(records, row, "frechet", steps=n)["mean"] for row in ("ddim", "dpmpp")}
    worse = one(records, "dpmpp", "worse", steps=n)
    assert worse["mean"] == pytest.approx(found["dpmpp"] - found["ddim"]) and worse["n"] == 20
    share = one(records, "dpmpp", "error_share", steps=50, of="ddim")
    assert len(share["values"]) == 3 and share["mean"] < 1
