"""What the report only looked at, measured on many faces: quality, eta, copies.

    draw = Sampler(*ddim.load_face_unet())
    samples = draw(starts(range(256)), n_steps=50, eta=0.5)
    real = load_features().embed(faces.split(faces.load())[1])
    quality(load_features().embed(samples), real)      # entries of a result file

Drawing is what takes the time: a Sampler keeps what it drew in build/cache, so that a study that
was interrupted goes on where it stopped. Walks between faces are in `walks`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor
from torch.nn import functional as F

from hw2lib.datasets import faces
from hw2lib.diffusion import Schedule, make_schedule
from hw2lib.evaluators.face_features import FaceFeatures
from hw2lib.experiments import ddim
from hw2lib.io.paths import atomic_write, build_dir
from hw2lib.metrics import frechet_distance, kernel_distance, metric
from hw2lib.models.face_unet import FaceUNet, in_mixed_precision
from hw2lib.samplers import individual_noise, sample_generators, time_steps

START_SEED = 1000  # of x_T; far from the seeds of the noise that eta > 0 adds
ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
BLOCK = 256  # faces that are kept in one file
GROUPS = 8  # of the jackknife


@dataclass(frozen=True)
class Plan:
    """How much is measured; "quick" shows that everything works and says nothing about faces."""

    samples: int  # of each cell of the eta table; of eta = 0 also for the search for copies
    steps: tuple[int, ...]  # rows of the eta table
    noises: int  # whose faces are watched while eta grows
    draws: int  # of each of them
    pairs: int  # of noises that are walked between
    encoded: int  # faces whose noise is searched
    code_steps: tuple[int, ...]
    n_steps: int  # of all that has no other number of steps


PLANS = {
    "quick": Plan(24, (5, 10), 3, 1, 1, 2, (5, 10), 20),
    "full": Plan(1000, (10, 20, 50, 100), 32, 8, 16, 16, (10, 20, 50, 100, 200), 50),
}


# --- drawing --------------------------------------------------------------------------------


class Sampler:
    """Draws faces of one model and keeps them; `spared` are the seconds that kept ones had taken.

    The network runs in mixed precision: the faces differ from those of `hw2 sample-faces` by less
    than can be seen, and all that is compared is drawn alike. Values are kept as float16.
    """

    def __init__(self, model: FaceUNet, header: dict, batch: int = 64, n_steps: int = 50):
        self.predict = in_mixed_precision(model)
        self.header, self.batch, self.n_steps, self.spared = header, batch, n_steps, 0.0
        self.side = header.get("size", faces.SIDE)  # 256 for the course's network
        digest = hashlib.sha256()
        for value in model.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        self.model_digest = digest.hexdigest()

    @property
    def schedule(self) -> Schedule:
        return make_schedule(self.header["schedule"], self.header["n_train_steps"])

    def __call__(
        self,
        noise: Tensor,
        *,
        n_steps: int | None = None,
        eta: float = 0.0,
        seed: int = 0,
        first: int = 0,
    ) -> Tensor:
        """Faces float (N, 3, H, W) of noises (N, 3, H, W), see `ddim.sample_faces`; their
        numbers there are first, first + 1, .."""
        n_steps = n_steps or self.n_steps

        def sample() -> Tensor:
            batch = min(self.batch, len(noise))
            return ddim.sample_faces(
                self.predict, self.header, noise, n_steps=n_steps, eta=eta, seed=seed, batch=batch,
                numbers=range(first, first + len(noise)),
            )  # fmt: skip

        return self.kept(("sample", n_steps, eta, seed, first), noise, sample)

    def many(self, n: int, **options: float) -> Tensor:
        """Faces (n, 3, side, side) of the starting noises 0 to n - 1, drawn and kept in blocks."""
        blocks = [range(a, min(a + BLOCK, n)) for a in range(0, n, BLOCK)]
        return torch.cat([self(self.starts(b), first=b.start, **options) for b in blocks])

    def starts(self, numbers: Sequence[int]) -> Tensor:
        """Starting noises (N, 3, side, side) of this model."""
        return starts(numbers, self.side)

    def kept(self, what: tuple, x: Tensor, make: Callable[[], Tensor]) -> Tensor:
        """`make()`, or what it gave before for the same model, `what` and input `x`."""
        key = hashlib.sha256(repr((self.model_digest, what, tuple(x.shape))).encode())
        key.update(x.contiguous().numpy().tobytes())
        file = build_dir() / "cache" / f"drawn-{key.hexdigest()[:24]}.npz"
        try:
            with np.load(file, allow_pickle=False) as kept:
                images = kept["images"]
                self.spared += float(kept["seconds"])
        except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # not there, or damaged
            began = time.perf_counter()
            images = make().half().numpy()
            seconds = time.perf_counter() - began
            with atomic_write(file) as part, open(part, "wb") as stream:
                np.savez(stream, images=images, seconds=seconds)
        return torch.from_numpy(images).float()


def starts(numbers: Sequence[int], side: int = faces.SIDE) -> Tensor:
    """Starting noises (N, 3, side, side); each depends on its number alone."""
    return individual_noise((3, side, side), sample_generators(START_SEED, list(numbers)))


def blurred(images: Tensor, sigma: float = 1.0) -> Tensor:
    """uint8 (N, 3, H, W) after a Gaussian of `sigma` pixels, edges repeated."""
    reach = int(4 * sigma + 0.5)
    weight = torch.exp(-((torch.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    kernel = (weight / weight.sum()).repeat(3, 1, 1, 1)  # (3, 1, 1, K)
    x = F.pad(images.float(), (reach,) * 4, mode="replicate")
    x = F.conv2d(F.conv2d(x, kernel, groups=3), kernel.mT, groups=3)
    return x.round().clamp(0, 255).to(torch.uint8)


# --- quality --------------------------------------------------------------------------------


def jackknife(statistic: Callable[[np.ndarray], float], n: int, unit: str = "distance") -> dict:
    """A result file's entry of a statistic of `n` samples, with its 95 % interval.

    statistic: indices of samples -> number. With v_g the statistic without group g of G = 8,

        v +- t sqrt((G - 1) / G sum_g (v_g - mean v)^2),   t = t_{.975, G - 1}

    (Tukey's delete-a-group jackknife): it needs no repeated samples, of which a Frechet distance
    would make a distance of its own.
    """
    group = np.arange(n) % GROUPS
    value = statistic(np.arange(n))
    without = np.array([statistic(np.flatnonzero(group != g)) for g in range(GROUPS)])
    variance = (GROUPS - 1) / GROUPS * ((without - without.mean()) ** 2).sum()
    half = float(stdtrit(GROUPS - 1, 0.975)) * variance**0.5
    return {**metric([value], n, unit), "low": value - half, "high": value + half}


def quality(samples: Tensor, real: Tensor) -> dict[str, dict]:
    """Frechet and kernel distance of features (N, D) to those of real faces (M, D), as entries."""
    samples, real = samples.numpy(), real.numpy()
    return {
        "frechet": jackknife(lambda i: frechet_distance(samples[i], real), len(samples)),
        "kernel": jackknife(lambda i: kernel_distance(samples[i], real), len(samples)),
    }


def worse_by(samples: Tensor, than: Tensor, real: Tensor) -> dict:
    """Frechet distance of `samples` less that of `than`, features of the same starting noises.

    Row by row the two belong together, so the interval is that of the difference.
    """
    a, b, real = samples.numpy(), than.numpy(), real.numpy()
    return jackknife(
        lambda i: frechet_distance(a[i], real) - frechet_distance(b[i], real), len(samples)
    )


def copies(samples: Tensor, held_out: Tensor) -> dict[str, dict]:
    """How near samples lie to training faces: distances to the nearest, (N,) and (M,).

    near: the share of samples that are nearer than all but 5 % of held-out faces, which a model
    without copies exceeds only if it draws more ordinary faces. nearest_ratio: median over median.
    """
    limit = torch.quantile(held_out, 0.05)
    ratio = (samples.median() / held_out.median()).item()
    return {
        "near": metric([(samples < limit).double().mean().item()], len(samples), "share"),
        "nearest_ratio": metric([ratio], len(samples), "ratio"),
    }


# --- eta ------------------------------------------------------------------------------------


def eta_features(draw: Sampler, eye: FaceFeatures, plan: Plan) -> dict[tuple[int, float], Tensor]:
    """{(steps, eta): features (plan.samples, 64)} of faces from the same noises in every cell."""
    return {
        (n, eta): eye.embed(draw.many(plan.samples, n_steps=n, eta=eta))
        for n in plan.steps
        for eta in ETAS
    }


def noise_share(schedule: Schedule, n_steps: int, eta: float) -> np.ndarray:
    """Share (n_steps,) of the noise in x_n that a step has drawn anew, in the order of sampling.

        sigma^2 / (1 - ab_n) = eta^2 (1 - ab_t / ab_n) / (1 - ab_t)

    Both noises of a step, that of the estimate and the fresh one, add up to 1 - ab_n.
    """
    ab = schedule.alpha_bar.numpy()
    times = time_steps(schedule.n_steps, n_steps, "leading")
    t, n = np.array(times), np.array([*times[1:], 0])
    return eta**2 * (1 - ab[t] / ab[n]) / (1 - ab[t])


def left_of_the_start(schedule: Schedule, n_steps: int, eta: float) -> np.ndarray:
    """Share (n_steps,) of the noise that is still the first one after each step: prod (1 - share).

    As if the network told the noise apart without a fault: what it takes into the face stays too.
    """
    return np.cumprod(1 - noise_share(schedule, n_steps, eta))


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of pixels on the scale -1 to 1, over the last three axes."""
    return (a.clamp(-1, 1) - b.clamp(-1, 1)).square().flatten(-3).mean(-1).sqrt()


def movement(draw: Sampler, noises: int, draws: int, etas: Sequence[float] = ETAS) -> dict:
    """{eta: (noises, draws) distances of each face from that of eta = 0} and {"other": (noises,)},
    the distance between faces of two noises, both at eta = 0."""
    start = draw.starts(range(noises))
    still = draw(start)
    moved: dict = {"other": distance(still, still.roll(1, 0))}
    for eta in etas:
        seeds = range(draws) if eta else [0] * draws  # eta = 0 draws nothing
        redrawn = [distance(draw(start, eta=eta, seed=seed), still) for seed in seeds]
        moved[eta] = torch.stack(redrawn, 1)
    return moved


Entries = dict[str, dict]


def percent(x: float) -> str:
    """.25 -> "025", for the names of entries."""
    return f"{round(100 * x):03d}"


def quality_entries(features: Mapping[str, Tensor], real: Tensor) -> Entries:
    """frechet_NAME and kernel_NAME of each set of features (N, D) against real ones (M, D)."""
    return {
        f"{kind}_{name}": entry
        for name, x in features.items()
        for kind, entry in quality(x, real).items()
    }


def eta_entries(cells: Mapping[tuple[int, float], Tensor], real: Tensor) -> Entries:
    """frechet_s50_eta025 and kernel_s50_eta025 of each cell's features, and worse_s50_eta025: how
    much farther it is than eta = 0 with as many steps."""
    entries = {}
    for (n, eta), x in cells.items():
        cell = f"s{n}_eta{percent(eta)}"
        entries |= {f"{kind}_{cell}": entry for kind, entry in quality(x, real).items()}
        if eta:
            entries[f"worse_{cell}"] = worse_by(x, cells[n, 0.0], real)
    return entries


def movement_entries(moved: Mapping[float | str, Tensor]) -> Entries:
    """change_eta_025: one value a noise, the mean over its draws; change_other between noises."""
    entries = {}
    for eta, x in moved.items():
        key = "other" if eta == "other" else f"eta_{percent(eta)}"
        values = x if x.ndim == 1 else x.mean(1)
        draws = 1 if x.ndim == 1 else x.shape[1]
        entries[f"change_{key}"] = metric(values.tolist(), draws, "distance")
    return entries


def share_entries(schedule: Schedule, n_steps: int, etas: Sequence[float] = ETAS) -> Entries:
    """Of the noise: fresh_first_eta025, fresh_last_.. drawn anew in the first and the last step
    but one, left_eta025 still from the start after all steps but the last."""
    entries = {}
    for eta in etas:
        if eta:
            share = noise_share(schedule, n_steps, eta)
            left = left_of_the_start(schedule, n_steps, eta)
            for name, value in (("first", share[0]), ("last", share[-2])):
                entries[f"fresh_{name}_eta{percent(eta)}"] = metric([value], 1, "share")
            entries[f"left_eta{percent(eta)}"] = metric([left[-2]], 1, "share")
    return entries


def text_table(entries: Entries, names: Sequence[str]) -> str:
    """Lines `name  mean [low, high]` of the entries asked for."""
    lines, width = [], max(map(len, names), default=0) + 2
    for name in names:
        e = entries[name]
        within = "" if e["low"] is None else f"  [{e['low']:.3f}, {e['high']:.3f}]"
        lines.append(f"{name:<{width}}{e['mean']:8.3f}{within}")
    return "\n".join(lines)
