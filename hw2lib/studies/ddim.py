"""What the report only looked at, measured on many faces: quality, eta, copies.

    draw, eye = Sampler(*ddim.load_face_unet()), face_features.load()
    samples = draw(draw.starts(range(256)), steps=50, eta=0.5)
    real = eye.embed(faces.split(faces.load())[1])
    quality("drawn", eye.embed(samples), real, steps=50, eta=0.5)      # records

Drawing is what takes the time: a Sampler keeps what it drew in build/cache, so that a study that
was interrupted goes on where it stopped. Walks between faces are in `walks`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import stdtrit
from torch import Tensor

from hw2lib.datasets import faces
from hw2lib.device import precision
from hw2lib.diffusion import Schedule, make_schedule
from hw2lib.evaluators.face_features import FaceFeatures
from hw2lib.experiments import ddim
from hw2lib.io.cache import kept
from hw2lib.io.results import record
from hw2lib.metrics import frechet_distance, kernel_distance, metric, nearest_distances
from hw2lib.models.face_unet import FaceUNet, in_mixed_precision
from hw2lib.samplers import Denoiser, individual_noise, sample_generators, time_steps

START_SEED = 1000  # of x_T; far from the seeds of the noise that eta > 0 adds
ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
BLOCK = 256  # faces that are kept in one file
GROUPS = 8  # of the jackknife


@dataclass(frozen=True)
class Plan:
    """How much is measured; "quick" shows that everything works and says nothing about faces."""

    samples: int  # of each cell of the eta table; of eta = 0 also for the search for copies
    eta_steps: tuple[int, ...]  # rows of the eta table
    noises: int  # whose faces are watched while eta grows
    draws: int  # of each of them
    pairs: int  # of noises that are walked between
    encoded: int  # faces whose noise is searched
    code_steps: tuple[int, ...]
    steps: int  # of all that has no other number of steps


PLANS = {
    "quick": Plan(8, (5, 10), 3, 1, 1, 2, (5, 10), 10),
    "full": Plan(1000, (10, 20, 50, 100), 32, 8, 16, 16, (10, 20, 50, 100, 200), 50),
}


class Sampler:
    """Draws faces of one model and keeps them; `spared` are the seconds that kept ones had taken.

    The network runs in mixed precision: the faces differ from those of `hw2 sample-faces` by less
    than can be seen, and all that is compared is drawn alike. Values are kept as float16.
    """

    def __init__(self, model: FaceUNet, header: dict, batch: int = 64, steps: int = 50):
        self.predict = in_mixed_precision(model)
        self.header, self.batch, self.steps, self.spared = header, batch, steps, 0.0
        self.side = header.get("size", faces.SIDE)  # 256 for the course's network
        values = (value.cpu().numpy().tobytes() for value in model.state_dict().values())
        self.model_digest = hashlib.sha256(b"".join(values)).hexdigest()

    @property
    def schedule(self) -> Schedule:
        return make_schedule(self.header["schedule"], self.header["n_train_steps"])

    @property
    def denoiser(self) -> Denoiser:
        """The model without the clip, for what lies outside [-1, 1] as well."""
        return Denoiser(self.predict, self.schedule, self.header["prediction"], clip=False)

    def __call__(
        self,
        noise: Tensor,
        *,
        steps: int | None = None,
        eta: float = 0.0,
        seed: int = 0,
        first: int = 0,
    ) -> Tensor:
        """Faces float (N, 3, H, W) of noises (N, 3, H, W), see `ddim.sample_faces`; their
        numbers there are first, first + 1, .."""
        steps = steps or self.steps

        def sample() -> Tensor:
            batch = min(self.batch, len(noise))
            return ddim.sample_faces(
                self.predict, self.header, noise, ddim.Sampling(steps, eta, seed), batch=batch,
                numbers=range(first, first + len(noise)),
            )  # fmt: skip

        return self.kept(("sample", steps, eta, seed, first), noise, sample)

    def many(self, n: int, **options: float) -> Tensor:
        """Faces (n, 3, side, side) of the starting noises 0 to n - 1, drawn and kept in blocks."""
        blocks = [range(a, min(a + BLOCK, n)) for a in range(0, n, BLOCK)]
        return torch.cat([self(self.starts(b), first=b.start, **options) for b in blocks])

    def starts(self, numbers: Sequence[int]) -> Tensor:
        """Starting noises (N, 3, side, side); each depends on its number alone."""
        generators = sample_generators(START_SEED, list(numbers))
        return individual_noise((3, self.side, self.side), generators)

    def kept(self, what: tuple, x: Tensor, make: Callable[[], Tensor]) -> Tensor:
        """`make()`, or what it gave before for the same model, precision, `what` and input `x`."""
        key = [self.model_digest, precision(), what, x.numpy()]
        found, spared = kept("drawn", key, lambda: {"images": make().half().numpy()})
        self.spared += spared
        return torch.from_numpy(found["images"]).float()


def blurred(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) after a Gaussian of one pixel, edges repeated."""
    x = gaussian_filter(images.numpy().astype(np.float32), (0, 0, 1, 1), mode="nearest")
    return torch.from_numpy(x).round().clamp(0, 255).to(torch.uint8)


def jackknife(statistic: Callable[[np.ndarray], float], n: int) -> dict:
    """The entry of a distance of `n` samples, with its 95 % interval.

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
    return {**metric([value], n, "distance"), "low": value - half, "high": value + half}


def quality(row: str, samples: Tensor, real: Tensor, **setting: float) -> list[dict]:
    """Records of the Frechet and the kernel distance of features (N, D) to real ones (M, D)."""
    n = len(samples)
    return [
        record(row, score, jackknife(lambda i, of=of: of(samples[i], real), n), **setting)
        for score, of in (("frechet", frechet_distance), ("kernel", kernel_distance))
    ]


def added(samples: Tensor, others: Tensor, real: Tensor) -> dict:
    """The entry of what samples add to the Frechet distance of others, of features (N, D) each.

    Sample by sample they start from the same noises, so the interval is that of the difference.
    """
    of = frechet_distance
    return jackknife(lambda i: of(samples[i], real) - of(others[i], real), len(samples))


def copies(
    samples: Tensor, held_out: Tensor, training: Tensor
) -> tuple[list[dict], dict[str, Tensor]]:
    """How near samples lie to training faces, of features (N, D), (M, D), (K, D): records, and the
    distances (N,) and (M,) to the nearest training face.

    near: the share of samples that are nearer than all but 5 % of held-out faces, which a model
    without copies exceeds only if it draws more ordinary faces. nearest_ratio: median over median.
    """
    known = training.double()
    a, b = (nearest_distances(x.double(), known) for x in (samples, held_out))
    near = (a < torch.quantile(b, 0.05)).double().mean().item()
    ratio = (a.median() / b.median()).item()
    return [
        record("drawn", "near", metric([near], len(a), "share")),
        record("drawn", "nearest_ratio", metric([ratio], len(a), "ratio")),
    ], {"held-out faces": b, "generated faces": a}


def eta_study(draw: Sampler, eye: FaceFeatures, plan: Plan, real: Tensor) -> list[dict]:
    """Records of faces from the same noises at each number of steps and eta: their distances to
    real features (M, D), and how much worse than eta = 0 with as many steps they are."""
    records = []
    for n in plan.eta_steps:
        cells = {eta: eye.embed(draw.many(plan.samples, steps=n, eta=eta)) for eta in ETAS}
        for eta, x in cells.items():
            records += quality("drawn", x, real, steps=n, eta=eta)
            if eta:
                worse = added(x, cells[0.0], real)
                records.append(record("drawn", "worse", worse, steps=n, eta=eta))
    return records


def noise_share(schedule: Schedule, steps: int, eta: float) -> np.ndarray:
    """Share (steps,) of the noise in x_n that a step has replaced, in the order of sampling.

        sigma^2 / (1 - ab_n) = eta^2 (1 - ab_t / ab_n) / (1 - ab_t)

    Both noises of a step, that of the estimate and the fresh one, add up to 1 - ab_n.
    """
    ab = schedule.alpha_bar.numpy()
    times = time_steps(schedule.n_steps, steps, "leading")
    t, n = np.array(times), np.array([*times[1:], 0])
    return eta**2 * (1 - ab[t] / ab[n]) / (1 - ab[t])


def left_of_the_start(schedule: Schedule, steps: int, eta: float) -> np.ndarray:
    """Share (steps,) of the noise that is still the first one after each step: prod (1 - share).

    As if the network told the noise apart without a fault: what it takes into the face stays too.
    """
    return np.cumprod(1 - noise_share(schedule, steps, eta))


def share_records(schedule: Schedule, steps: int, etas: Sequence[float] = ETAS) -> list[dict]:
    """Of the noise: fresh_first and fresh_last, replaced in the first and the last step but one;
    left, still from the start after all steps but the last."""
    records = []
    for eta in filter(None, etas):
        share = noise_share(schedule, steps, eta)
        left = left_of_the_start(schedule, steps, eta)
        for score, value in (
            ("fresh_first", share[0]), ("fresh_last", share[-2]), ("left", left[-2]),
        ):  # fmt: skip
            records.append(record("noise", score, metric([value], 1, "share"), eta=eta))
    return records


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of pixels on the scale -1 to 1, over the last three axes."""
    return (a.clamp(-1, 1) - b.clamp(-1, 1)).square().flatten(-3).mean(-1).sqrt()


def movement(
    draw: Sampler, noises: int, draws: int, etas: Sequence[float] = ETAS
) -> tuple[dict[float, Tensor], Tensor]:
    """{eta: (noises, draws) distances of each face from that of eta = 0}, and (noises,) the
    distance between faces of two noises, both at eta = 0."""
    start = draw.starts(range(noises))
    still = draw(start)
    moved = {}
    for eta in etas:
        seeds = range(draws) if eta else [0] * draws  # eta = 0 draws nothing
        redrawn = [distance(draw(start, eta=eta, seed=seed), still) for seed in seeds]
        moved[eta] = torch.stack(redrawn, 1)
    return moved, distance(still, still.roll(1, 0))


def movement_records(moved: Mapping[float, Tensor], other: Tensor) -> list[dict]:
    """Of `movement`: the change of the face, one value a noise, the mean over its draws."""
    return [
        record("other noise", "change", metric(other.tolist(), 1, "distance")),
        *(
            record("drawn", "change", metric(x.mean(1).tolist(), x.shape[1], "distance"), eta=eta)
            for eta, x in moved.items()
        ),
    ]
