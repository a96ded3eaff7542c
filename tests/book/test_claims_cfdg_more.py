"""What the digits' appendix says in words about parts of guidance and a longer training."""

from helpers.recorded import mean, means, record


def tried(score, part, w):
    return record("digits-parts", "tried", score, part=part, w=w)


def test_no_part_of_guidance_is_better_than_all_of_it():
    strengths = [s["w"] for s, _ in means("digits-parts", "tried", part="all")]
    parts = [s for s, _ in means("digits-parts", "tried") if s["part"] != "all"]
    assert len({s["part"] for s in parts}) == 5
    for s in parts:
        accuracy, frechet = (tried(score, **s) for score in ("accuracy", "frechet"))
        assert any(
            tried("accuracy", "all", w)["high"] >= accuracy["low"]
            and tried("frechet", "all", w)["mean"] < frechet["mean"]
            for w in strengths
        ), s


def test_shapes_alone_are_farther_from_real_digits_at_the_same_accuracy():
    gained = {s: record("digits-parts", "gained", s) for s in ("accuracy", "frechet")}
    assert gained["accuracy"]["low"] < 0 < gained["accuracy"]["high"]
    assert gained["frechet"]["low"] > 0
    read = [m for _, m in means("digits-parts", "tried", part="shape")]
    assert len(read) == 5 and max(read) < 0.99
    assert mean("digits-parts", "tried", part="all", w=0.75) >= 0.99


def longer(score, at):
    return record("digits-longer", "gained", score, at=at)


def test_a_longer_training_gains():
    assert longer("accuracy", "default")["low"] > 0 > longer("frechet", "default")["high"]
    assert longer("frechet", "legible")["high"] < 0
    for score in ("accuracy", "recall"):
        assert longer(score, "legible")["low"] < 0 < longer(score, "legible")["high"]


def test_the_longer_training_comes_within_a_point_of_all_three():
    w = mean("digits-longer", "tried", "legible", model="longer")
    found = {
        score: mean("digits-longer", "samples", score, model="longer", w=w)
        for score in ("accuracy", "recall_of_real", "frechet")
    }
    assert 0.98 < found["accuracy"] < 0.99 and 0.89 < found["recall_of_real"] < 0.9
    assert found["frechet"] <= mean("digits-noises", "samples", "frechet", w=1.25) / 2
