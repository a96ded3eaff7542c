"""Metrics against closed forms, scipy and scikit-learn, and the laws they must keep."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from hw2lib import metrics

FIELDS = {"values", "mean", "low", "high", "n", "unit"}


@settings(deadline=None)
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case):
    k, n = case
    expected = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
    assert metrics.wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_ends_are_exact_and_nonsense_is_refused():
    assert metrics.wilson(0, 10)[0] == 0.0
    assert metrics.wilson(10, 10)[1] == 1.0
    for k, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="proportion"):
            metrics.wilson(k, n)


def test_normal_quantile():
    assert pytest.approx(stats.norm.ppf(0.975), abs=1e-12) == metrics.Z


def test_one_seed_is_wilson():
    correct = torch.arange(1000) < 930
    entry = metrics.accuracy_metric([correct])
    assert entry.keys() == FIELDS
    assert entry["values"] == [0.93]
    assert entry["mean"] == 0.93
    assert entry["n"] == 1000
    assert (entry["low"], entry["high"]) == metrics.wilson(930, 1000)
    assert entry == metrics.accuracy_metric([930], n=1000)


def test_several_seeds_add_both_parts():
    values, n = [0.90, 0.92, 0.97], 200
    entry = metrics.accuracy_metric([v * n for v in values], n=n)
    p = np.mean(values)
    seeds = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3)
    half = math.sqrt(seeds**2 + 1.96**2 * p * (1 - p) / n)
    assert entry["mean"] == pytest.approx(p)
    assert entry["low"] == pytest.approx(p - half, abs=1e-4)
    assert entry["high"] == pytest.approx(min(1.0, p + half), abs=1e-4)


@settings(deadline=None)
@given(st.integers(1, 300), st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_interval_holds_mean_and_stays_in_range(n, shares):
    entry = metrics.accuracy_metric([round(share * n) for share in shares], n=n)
    assert 0 <= entry["low"] <= entry["mean"] <= entry["high"] <= 1


def test_more_seeds_never_remove_the_images_part():
    entry = metrics.accuracy_metric([50] * 100, n=100)  # no spread over seeds at all
    assert entry["high"] - entry["low"] == pytest.approx(2 * 1.96 * 0.05, abs=1e-3)


@pytest.mark.parametrize("bad", [[[True], [True, False]], [[]], []])
def test_unequal_or_empty_seeds(bad):
    with pytest.raises(ValueError, match=r"seed|counts|accurac"):
        metrics.accuracy_metric(bad)
    with pytest.raises(ValueError, match="accuracies"):
        metrics.accuracy_metric([11], n=10)


def test_metric_of_one_and_of_three_seeds():
    one = metrics.metric([2.5], 1000, "distance")
    assert one.keys() == FIELDS
    assert one["low"] is None
    assert one["high"] is None
    three = metrics.metric([1.0, 2.0, 3.0], 1000, "distance")
    low, high = stats.t.interval(0.95, 2, 2.0, stats.sem([1, 2, 3]))
    assert (three["low"], three["high"]) == pytest.approx((low, high), abs=1e-3)


# --- distances ------------------------------------------------------------------------------


def sets(seed=0, n=400, m=300, d=6):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d))
    return rng.normal(size=(n, d)) @ mix, rng.normal(size=(m, d)) + 0.5


def test_frechet_against_scipys_matrix_root():
    a, b = sets()
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(ca @ cb).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_in_one_dimension_is_the_textbooks():
    rng = np.random.default_rng(1)
    a, b = rng.normal(2, 3, (500, 1)), rng.normal(0, 1, (500, 1))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert metrics.frechet_distance(a, b) == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_frechet_laws(seed, factor):
    a, b = sets(seed, 60, 50, 4)
    d = metrics.frechet_distance(a, b)
    assert d >= 0
    assert metrics.frechet_distance(b, a) == pytest.approx(d, rel=1e-7)
    assert metrics.frechet_distance(factor * a, factor * b) == pytest.approx(factor**2 * d)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    assert metrics.frechet_distance(a @ rotation, b @ rotation) == pytest.approx(d, rel=1e-7)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-7)  # a root of rounding
    assert metrics.frechet_distance(a, a + 3.0) == pytest.approx(36, rel=1e-7)


def test_frechet_with_fewer_rows_than_columns():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(5, 20))
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def reference_precision(real, fake, k):
    """Share of fakes inside a ball around a real one, ball by ball with scikit-learn."""
    radii = NearestNeighbors(n_neighbors=k + 1).fit(real).kneighbors(real)[0][:, k]
    inside = [any(np.linalg.norm(real - f, axis=1) <= radii) for f in fake]
    return np.mean(inside)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_against_scikit_learn(k):
    real, fake = sets(3, 120, 90, 3)
    precision, recall = metrics.precision_recall(real, fake, k)
    assert precision == pytest.approx(reference_precision(real, fake, k))
    assert recall == pytest.approx(reference_precision(fake, real, k))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_nearest_are_found_to_rounding(kind):
    among = torch.randn(700, 3, generator=torch.Generator().manual_seed(0)).to(kind)
    x = among[[5, 600, 8]] + torch.tensor([[0.001, 0, 0], [0, 0.002, 0], [0, 0, 0]]).to(kind)
    expected = torch.tensor([0.001, 0.002, 0], dtype=torch.float64)
    torch.testing.assert_close(metrics.nearest_distances(x, among), expected, rtol=0, atol=1e-6)


def test_precision_sees_quality_and_recall_variety():
    rng = np.random.default_rng(4)
    real = rng.normal(size=(500, 2))
    assert metrics.precision_recall(real, real) == (1.0, 1.0)
    assert metrics.precision_recall(real, real + 100) == (0.0, 0.0)
    precision, recall = metrics.precision_recall(real, 0.05 * rng.normal(size=(500, 2)))
    assert precision > 0.95
    assert recall < 0.1


def test_copies_of_one_image():
    real = np.random.default_rng(5).normal(size=(50, 4))
    precision, recall = metrics.precision_recall(real, np.repeat(real[:1], 50, 0))
    assert precision == 1.0
    assert recall == pytest.approx(1 / 50)


def test_kernel_distance():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(800, 8)), rng.normal(size=(800, 8))
    same, other = metrics.kernel_distance(a, b), metrics.kernel_distance(a, b + 1)
    assert abs(same) < 0.03 < 0.5 < other
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))

    def k(u, v):
        return (u @ v / 3 + 1) ** 3

    expected = (
        np.mean([k(x[i], x[j]) for i in range(4) for j in range(4) if i != j])
        + np.mean([k(y[i], y[j]) for i in range(3) for j in range(3) if i != j])
        - 2 * np.mean([k(u, v) for u in x for v in y])
    )
    assert metrics.kernel_distance(x, y) == pytest.approx(expected)


def test_a_distance_at_both_ends():
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(2000, 5)), rng.normal(size=(1500, 5))
    assert metrics.a_distance(a, b) < 0.15
    assert metrics.a_distance(a, b + 20) == 2.0
    shifted = metrics.a_distance(a, b + np.eye(5)[0])  # best error: Phi(-1/2) = .309
    assert shifted == pytest.approx(2 * (1 - 2 * stats.norm.cdf(-0.5)), abs=0.15)


def test_a_distance_agrees_with_another_linear_classifier():
    """Logistic regression on halves of its own, at three distances of correlated features."""
    rng = np.random.default_rng(9)
    mix = rng.normal(size=(6, 6))
    for shift in (0.1, 0.5, 1.5):
        a, b = rng.normal(size=(3000, 6)) @ mix, (rng.normal(size=(3000, 6)) + shift) @ mix
        x, y = np.concatenate([a, b]), np.repeat([0, 1], 3000)
        model = LogisticRegression(max_iter=1000).fit(x[::2], y[::2])
        expected = 2 * (1 - 2 * (1 - model.score(x[1::2], y[1::2])))
        assert metrics.a_distance(a, b) == pytest.approx(expected, abs=0.12)


def classes(n: int, seed: int, spread: float = 1.0, shift: float = 0.0):
    """(features (n, 8), labels) of ten classes, each around a place that all seeds share."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    places = np.random.default_rng(0).normal(size=(10, 8)) * 2
    return places[labels] + spread * rng.normal(size=(n, 8)) + shift, labels


def test_neighbour_agreement_is_that_of_a_nearest_neighbour_classifier():
    (a, of_a), (b, of_b) = classes(700, 1), classes(1201, 2, shift=0.5)
    share, chance = metrics.neighbour_agreement(a, of_a, torch.tensor(b), torch.tensor(of_b))
    assert share == pytest.approx(KNeighborsClassifier(1).fit(a, of_a).score(b, of_b), abs=1e-12)
    assert chance == pytest.approx((of_a[:, None] == of_b).mean(), abs=1e-12)
    assert 0.3 < share < 0.95
    assert metrics.neighbour_agreement(a, of_a * 0, b, of_b * 0 + 1) == (0, 0)
    with pytest.raises(ValueError, match="one each is needed"):
        metrics.neighbour_agreement(a, of_a[1:], b, of_b)


def silhouette(x, labels) -> float:
    """By the definition: (b - a) / max(a, b), a and b the mean distances within the own and to the
    nearest other class."""
    values = []
    for i in range(len(x)):
        d = np.sqrt(((x - x[i]) ** 2).sum(1))
        own = d[(labels == labels[i]) & (np.arange(len(x)) != i)].mean()
        other = min(d[labels == c].mean() for c in set(labels.tolist()) - {labels[i]})
        values.append((other - own) / max(own, other))
    return float(np.mean(values))


def test_feature_scores():
    (a, of_a), (b, of_b) = classes(120, 1), classes(120, 2, shift=0.7)
    scores = metrics.feature_scores(torch.tensor(a), torch.tensor(of_a), b, of_b, seed=3)
    assert scores["n"] == 120
    both = silhouette(np.concatenate([a, b]), np.concatenate([of_a, of_b]))
    assert scores["silhouette"] == pytest.approx(both)
    assert scores["silhouette_target"] == pytest.approx(silhouette(b, of_b))
    agreement = metrics.neighbour_agreement(a, of_a, b, of_b)
    assert (scores["agreement"], scores["chance"]) == pytest.approx(agreement)
    assert scores == metrics.feature_scores(a, of_a, b, of_b, seed=3)


def test_feature_scores_take_equally_many_of_each_domain_with_their_own_labels():
    (a, of_a), (b, of_b) = classes(90, 1, 0.01), classes(4000, 2, 0.01)
    scores = metrics.feature_scores(a, of_a, b, of_b)
    assert scores["n"] == 90 and scores["agreement"] == 1 and scores["silhouette"] > 0.9
    assert metrics.feature_scores(b, of_b, b, of_b, most=50)["n"] == 50
    apart = metrics.feature_scores(a, of_a, b + 100, of_b)
    assert apart["a_distance"] == 2 and apart["silhouette"] < 0.3 < apart["silhouette_target"]


@pytest.mark.parametrize("f", [metrics.frechet_distance, metrics.precision_recall,
                               metrics.kernel_distance, metrics.a_distance])  # fmt: skip
def test_features_that_are_no_features(f):
    good = np.random.default_rng(8).normal(size=(10, 3))
    for bad in (np.full((10, 3), np.nan), good[0], good[:1]):
        with pytest.raises(ValueError, match="features"):
            f(good, bad)


def test_background_spread():
    images = torch.zeros(20, 3, 28, 28, dtype=torch.uint8)
    labels = torch.arange(10).repeat_interleave(2)
    assert metrics.background_spread(images, labels) == 0
    images += (labels * 20).to(torch.uint8)[:, None, None, None]  # differs by digit only
    assert metrics.background_spread(images, labels) == 0
    images[1::2] += 51  # a fifth of the range between the two of each digit
    assert metrics.background_spread(images, labels) == pytest.approx(0.2 / math.sqrt(2))
    as_float = images.float() / 127.5 - 1
    assert metrics.background_spread(as_float, labels) == pytest.approx(0.2 / math.sqrt(2))


def test_detail_of_a_checkerboard_and_of_a_ramp():
    """Neighbours differ by 2 everywhere, by 0, and by the ramp's slope in one direction."""
    i, j = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    board = ((i + j) % 2) * 2 - 1
    images = torch.stack([board, 0 * i + 5, 0.1 * j])[:, None].expand(3, 3, 8, 8)
    expected = torch.tensor([2.0, 0.0, 0.1 / 2**0.5])
    torch.testing.assert_close(metrics.detail(images), expected)


def test_blur_lowers_detail_more_than_contrast():
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).cumsum(3)
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1)
    share = metrics.detail(blurred) / metrics.detail(x)
    assert (share < blurred.flatten(1).std(dim=1) / x.flatten(1).std(dim=1)).all()
