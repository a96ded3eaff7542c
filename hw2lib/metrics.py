"""Numbers that judge samples and classifiers, with 95 % intervals.

All sums run in float64 on the CPU, in numpy. Sources: Wilson (1927); Heusel et al. (2017) for
the Frechet distance; Kynkaanniemi et al. (2019) for precision and recall; Ben-David et al. (2007)
for the proxy A-distance; Rousseeuw (1987) for the silhouette. scikit-learn is imported where it is
used, so that training does not need it.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

Z = 1.959963984540054  # Phi^-1(0.975)


def wilson(k: float, n: int) -> tuple[float, float]:
    """95 % interval of a proportion k / n.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"{k} of {n} is no proportion")
    p = k / n
    centre = p + Z**2 / (2 * n)
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + Z**2 / n), (centre + half) / (1 + Z**2 / n)
    # p = 0 and p = 1 have the exact ends 0 and 1; rounding may miss them by 1e-17.
    return max(0.0, min(p, low)), min(1.0, max(p, high))


def accuracy_metric(correct: Sequence, n: int | None = None) -> dict:
    """A result file's entry for accuracies of S seeds, each on n images.

    correct: one boolean array (n,) a seed, or one count (or accuracy times n) a seed with `n`.
    One seed: Wilson's interval. Several: the deviations of seeds and images add up,

        mean +- sqrt((t s / sqrt(S))^2 + (1.96)^2 p (1 - p) / n),   p = mean, t = t_{.975, S - 1}

    clipped to [0, 1]. The images' part is not divided by S: all seeds are tested on the same
    images, so more seeds do not average their choice out. (For S models that each drew their own
    images it is therefore on the wide side.) Raises ValueError for unequal or empty seeds.
    """
    if n is None:
        seeds = [np.asarray(seed, dtype=bool).ravel() for seed in correct]
        if len({len(seed) for seed in seeds}) != 1:
            raise ValueError("every seed needs the same number of images")
        n, counts = len(seeds[0]), [int(seed.sum()) for seed in seeds]
    else:
        counts = [float(count) for count in correct]
    if not counts or n < 1 or not all(0 <= count <= n for count in counts):
        raise ValueError(f"counts {counts} of {n} images are no accuracies")
    values = [count / n for count in counts]
    if len(values) == 1:
        low, high = wilson(counts[0], n)
        return _entry(values, low, high, n, "accuracy")
    p = float(np.mean(values))
    over_seeds = _seed_half_width(values)
    half = math.sqrt(over_seeds**2 + Z**2 * p * (1 - p) / n)
    return _entry(values, max(0.0, p - half), min(1.0, p + half), n, "accuracy")


def metric(values: Sequence[float], n: int, unit: str) -> dict:
    """An entry for any other number, one value a seed; n images a seed.

    low and high are the t interval over seeds; with a single seed both are None: there is nothing
    to tell how far another seed would fall.
    """
    values = [float(value) for value in values]
    if not values:
        raise ValueError("no values")
    if len(values) == 1:
        return _entry(values, None, None, n, unit)
    mean, half = float(np.mean(values)), _seed_half_width(values)
    return _entry(values, mean - half, mean + half, n, unit)


def _seed_half_width(values: list[float]) -> float:
    from scipy.special import stdtrit  # here, so that training needs no scipy

    t = float(stdtrit(len(values) - 1, 0.975))
    return t * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _entry(values: list[float], low: float | None, high: float | None, n: int, unit: str) -> dict:
    mean = float(np.mean(values))
    return {"values": values, "mean": mean, "low": low, "high": high, "n": int(n), "unit": unit}


def _features(x) -> np.ndarray:
    """float64 (N, D) of a tensor or array with N >= 2 finite rows."""
    x = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
    x = x.astype(np.float64)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"features {x.shape}: at least two finite rows (N, D) are needed")
    return x


def frechet_distance(a, b) -> float:
    """Frechet distance of two Gaussians fitted to features a (N, D) and b (M, D); 0 if equal.

        |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^{1/2})

    tr (A B)^{1/2} is the sum of the square roots of the eigenvalues of A^{1/2} B A^{1/2}, which is
    symmetric: no complex numbers, and eigenvalues that rounding made negative count as zero.
    """
    a, b = _features(a), _features(b)
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T  # A^{1/2}
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return max(0.0, float(means + np.trace(cov_a) + np.trace(cov_b) - 2 * cross))


def nearest_distances(x: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Euclidean distance float64 (N,) of each row of x (N, D) to the nearest of `others` (M, D)."""
    from sklearn.metrics import pairwise_distances_argmin_min

    _, distances = pairwise_distances_argmin_min(x.cpu().numpy(), others.cpu().numpy())
    return torch.from_numpy(distances).double()


def precision_recall(real, fake, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall of features real (N, D) and fake (M, D), both in [0, 1].

    A set's manifold is the union of balls around its points that reach to the k-th neighbour.
    Precision (quality): share of fakes within the real manifold. Recall (variety): share of reals
    within the fakes' manifold.
    """
    from sklearn.metrics import euclidean_distances

    real, fake = _features(real), _features(fake)
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"{len(real)} and {len(fake)} features; more than k = {k} are needed")

    def radii(x: np.ndarray) -> np.ndarray:
        """Squared distance (N,) of each row to its k-th nearest other row."""
        own = euclidean_distances(x, squared=True)
        np.fill_diagonal(own, -1.0)  # each row itself comes first, copies of it included
        return np.partition(own, k, axis=1)[:, k]

    distances = euclidean_distances(real, fake, squared=True)
    precision = (distances <= radii(real)[:, None]).any(0).mean()
    recall = (distances <= radii(fake)).any(1).mean()
    return float(precision), float(recall)


def background_spread(images, labels) -> float:
    """Variety of colour: standard deviation of the images' mean colours, averaged over digits.

    images (N, 3, H, W), uint8 or in [-1, 1]; the answer is in units of the full range 0..1. A
    model that gives every 3 the same background scores near 0, whatever its accuracy.
    """
    scale = 255.0 if images.dtype == torch.uint8 else 2.0
    colours = (images.double() / scale).mean((2, 3)).cpu()  # (N, 3)
    labels = labels.cpu()
    digits = [d for d in labels.unique() if (labels == d).sum() > 1]
    if not digits:
        raise ValueError("at least two images of one digit are needed")
    return float(torch.stack([colours[labels == d].std(0).mean() for d in digits]).mean())


def detail(images: torch.Tensor) -> torch.Tensor:
    """Root mean square difference of neighbouring pixels, (N,), of images (N, C, H, W).

    Texture and sharp edges raise it; brightness and smooth shading hardly count.
    """
    down, across = images.diff(dim=2).square(), images.diff(dim=3).square()
    return ((down.flatten(1).mean(1) + across.flatten(1).mean(1)) / 2).sqrt()


def kernel_distance(a, b) -> float:
    """Kernel distance (Binkowski et al., 2018): unbiased MMD^2, kernel (x y / D + 1)^3.

    Unlike the Frechet distance it has no bias at small samples; near 0 it may be negative.
    """
    from sklearn.metrics.pairwise import polynomial_kernel

    a, b = _features(a), _features(b)

    def within(x: np.ndarray) -> float:
        k = polynomial_kernel(x)  # its defaults are this kernel
        return (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * polynomial_kernel(a, b).mean())


def a_distance(source, target, seed: int = 0) -> float:
    """Proxy A-distance (Ben-David et al., 2007) of features: 2 (1 - 2 error), within [0, 2].

    error: that of a linear classifier (ridge regression on -1 / 1) of the two domains, fitted on
    one half of each, tested on the other, halves drawn by `seed`. 0: the domains can't be told
    apart; 2: always. An error above 1/2 is chance and counts as 1/2.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    source, target = _features(source), _features(target)
    n = min(len(source), len(target)) // 2 * 2  # equal sizes: chance is 1/2
    if n < 4:
        raise ValueError("at least four features of each domain are needed")
    source, target = (x[rng.permutation(len(x))[:n]] for x in (source, target))
    train = np.concatenate([source[: n // 2], target[: n // 2]])
    test = np.concatenate([source[n // 2 :], target[n // 2 :]])
    y = np.repeat([-1.0, 1.0], n // 2)
    classifier = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1e-2 * n)).fit(train, y)
    error = float((classifier.predict(test) != y).mean())
    return 2 * (1 - 2 * min(error, 0.5))


def neighbour_agreement(source, source_labels, target, target_labels) -> tuple[float, float]:
    """Share of target features (M, D) whose nearest source feature (N, D) is of their class, and
    that share at chance: if the neighbour were any source feature. Both in [0, 1].

    It needs labels of both domains, so it judges features and never chooses them. Raises
    ValueError where features and labels are not equally many.
    """
    from sklearn.neighbors import KNeighborsClassifier

    source, target = _features(source), _features(target)
    of_source, of_target = _labels(source_labels, source), _labels(target_labels, target)
    share = KNeighborsClassifier(1).fit(source, of_source).score(target, of_target)
    chance = sum((of_source == c).mean() * (of_target == c).mean() for c in set(of_target.tolist()))
    return float(share), float(chance)


def feature_scores(
    source_features, source_labels, target_features, target_labels, seed: int = 0, most: int = 2000
) -> dict[str, float | int]:
    """What a map of two domains' features (N, D) and (M, D) shows to the eye, as numbers.

        a_distance         of the domains, 0 (can't be told apart) .. 2; see `a_distance`
        silhouette         by class, both domains together, -1 .. 1: compact and apart is 1
        silhouette_target  by class, the target alone
        agreement, chance  of nearest neighbours across the domains, see `neighbour_agreement`
        n                  features of each domain that went in: the smaller set, `most` at most

    Both domains give n features, drawn by `seed`. Raises ValueError where features and labels are
    not equally many, or all of one class.
    """
    from sklearn.metrics import silhouette_score

    rng = np.random.default_rng(seed)
    n = min(len(source_features), len(target_features), most)
    parts = []
    for x, y in ((source_features, source_labels), (target_features, target_labels)):
        x = _features(x)
        chosen = rng.permutation(len(x))[:n]
        parts += [x[chosen], _labels(y, x)[chosen]]
    source, of_source, target, of_target = parts
    agreement, chance = neighbour_agreement(*parts)
    both, of_both = np.concatenate([source, target]), np.concatenate([of_source, of_target])
    return {
        "a_distance": a_distance(source, target, seed),
        "silhouette": float(silhouette_score(both, of_both)),
        "silhouette_target": float(silhouette_score(target, of_target)),
        "agreement": agreement,
        "chance": chance,
        "n": n,
    }


def _labels(labels, features: np.ndarray) -> np.ndarray:
    """(N,) of a tensor or sequence, one for each of the features (N, D)."""
    labels = np.asarray(torch.as_tensor(labels).cpu())
    if labels.shape != (len(features),):
        raise ValueError(f"labels {labels.shape} for features {features.shape}; one each is needed")
    return labels
