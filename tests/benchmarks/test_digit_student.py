"""The student: its teacher's paths, its file, and what its trainings have in common."""

from types import SimpleNamespace

import digit_few_steps as few
import digit_student as student
import pytest
import torch
from faults.commands import make_weights

from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import Sampling, sample_digits
from hw2lib.io.results import one


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A tiny teacher; a few of its paths, and a training of two steps."""
    monkeypatch.setattr(student, "OUT", tmp_path / "student")
    monkeypatch.setattr(student, "TEACHER", make_weights(tmp_path) / "digits.safetensors")
    monkeypatch.setattr(student, "PATHS", 20)
    monkeypatch.setattr(student, "CHUNK", 10)
    monkeypatch.setattr(student, "TRAIN", student.replace(student.TRAIN, steps=2, batch_size=4))
    model, header = cfdg.load_digit_unet(student.TEACHER)
    return model, {**header, "data": {"source": "embedded"}}


def test_a_path_ends_where_the_guided_sampler_does(small):
    states, labels, w = student.paths(*small)
    assert states.shape == (20, 5, 3, 28, 28) and w.min() >= 0 and 2 < w.max() <= 3
    for k in (3, 17):
        how = Sampling(w[k].item(), student.TEACHER_STEPS, seed=student.NOISE_SEED)
        seen = []
        image = sample_digits(
            *small, labels[k : k + 1], [k], how, on_step=lambda t, x, _, seen=seen: seen.append(x)
        )
        for state, x in zip(
            states[k], seen[:: student.TEACHER_STEPS // student.STEPS], strict=False
        ):
            assert (state - x[0]).abs().max() < 0.05  # float16, and bfloat16 in another batch
        last = student.digits.to_uint8(states[k, -1].float()).int()
        assert (last - image[0].int()).abs().max() <= 2


def test_a_student_is_a_file_that_draws(small):
    file, _ = student.trained(1, *small)
    net, header = cfdg.load_digit_unet(file)
    assert header["student"] == {"steps": 4, "w_max": 3.0} and net.config.guidance_input
    images = sample_digits(net, header, torch.arange(2), [0, 1], Sampling(2.0, 4))
    assert images.shape == (2, 3, 28, 28)


def test_trainings_are_means_over_noises_beside_the_default():
    known = few.Known(
        [{"accuracy": 0.9, "frechet": 4.0, "recall": 0.5}] * 2, real_recall=[0.5, 1.0]
    )
    scored = [
        [
            {"accuracy": a, "frechet": 2.0, "recall": 0.5},
            {"accuracy": a, "frechet": 4.0, "recall": 1},
        ]
        for a in (0.8, 0.9, 1.0)
    ]
    records = student.trainings(scored, known, 1.25)

    def values(score):
        return one(records, "trainings", score, w=1.25)["values"]

    assert values("accuracy_lost") == pytest.approx([0.1, 0, -0.1])
    assert values("frechet_gained") == [-1] * 3 and values("recall_gained") == [0.25] * 3
    assert values("recall_of_real") == [1] * 3


@pytest.mark.parametrize(
    ("right", "chosen"), [((10, 18, 19, 20), 2.0), ((10, 17, 12, 11), 2.0), ((19, 18, 18, 18), 1.5)]
)
def test_the_smallest_w_that_is_read_as_well_is_chosen(monkeypatch, right, chosen):
    """Else the one that is read best."""
    labels = torch.zeros(20)
    drawn = dict(zip(student.CHOICE_W, right, strict=True))
    monkeypatch.setattr(student, "N", 20)
    monkeypatch.setattr(few, "LABELS", labels)
    monkeypatch.setattr(student, "drawn", lambda file, w, seed: torch.arange(20) >= drawn[w])
    monkeypatch.setattr(student.judge, "load", lambda: SimpleNamespace(predict=lambda x: x.float()))
    found, records = student.choice(None, few.Known([{"accuracy": 0.9}], [1.0]))
    assert found == chosen
    assert [r["mean"] for r in records] == [n / 20 for n in right]
