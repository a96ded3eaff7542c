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
