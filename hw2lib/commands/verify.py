"""Recorded numbers, measured again with the shipped weights: `hw2 verify`.

Each check yields (record, value): a record of the result file and what this machine measures now.
A number is inside where it lies in its recorded 95 % interval, or under the limit that the report
names for it; one that is plain arithmetic must be equal; a ratio of speeds is not judged.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from hw2lib.datasets import digits
from hw2lib.errors import UserError, check_known
from hw2lib.evaluators import judge
from hw2lib.experiments import cfdg, ddim
from hw2lib.interpolation import WAYS, path
from hw2lib.io.paths import CLONE, RESULTS, WEIGHTS
from hw2lib.io.results import load, one, said, select
from hw2lib.models import dann_net
from hw2lib.models.digit_unet import DigitUNet, ReportUNet
from hw2lib.models.face_unet import FaceUNet
from hw2lib.studies import cfdg as cfdg_study
from hw2lib.studies import walks
from hw2lib.studies.dann import SHIPPED
from hw2lib.studies.ddim import Sampler, share_records

RECIPE_LIMIT = 1e-4  # of the squared error to the recipe, on 0..255: what the report claims
Checked = Iterator[tuple[dict, float]]


class NotHere(Exception):
    """What a check needs and this machine does not have, in words."""


def digit_accuracy(result: dict, n: int = 1000) -> Checked:
    """Guided and unguided samples, drawn anew and read by the judge."""
    model, header = cfdg.load_digit_unet()
    labels = torch.arange(10).repeat_interleave(n // 10)
    for row in ("guided", "unguided"):
        recorded = one(result["records"], row, "accuracy")
        how = cfdg.Sampling(**recorded["setting"], seed=result["seeds"][0])
        images = cfdg.sample_digits(model, header, labels, range(n), how, progress=True)
        yield recorded, judge.score(images, labels).accuracy["mean"]


def rejection_accuracy(result: dict, n: int = 1000) -> Checked:
    """The student's samples by rejection, of all noise seeds, drawn anew and read by the judge."""
    model, header = cfdg.load_digit_unet(WEIGHTS / "digits-student.safetensors")
    labels, noises = torch.arange(10).repeat_interleave(n // 10), list(range(n))
    found = select(result["records"], "samples", "accuracy", model="student")
    recorded = next(r for r in found if r["setting"]["confidence"])
    w, confidence = recorded["setting"]["w"], recorded["setting"]["confidence"]
    shares = []
    for seed in result["seeds"]:
        how = cfdg.Sampling(w, header["student"]["steps"], seed=seed)
        images, _ = cfdg.sample_until_read(model, header, labels, noises, how, confidence)
        shares.append(judge.score(images, labels).accuracy["mean"])
    yield recorded, float(np.mean(shares))


def real_accuracy(result: dict) -> Checked:
    """The judge on real test digits."""
    test = real_test_set("mnistm", result)
    read = judge.score(test.images, test.labels).accuracy
    yield one(result["records"], "real", "accuracy"), read["mean"]


def sampling_ratio(result: dict) -> Checked:
    """Our digits a second over the report's: 100 images pass each network once, in float32."""
    header = cfdg.load_digit_unet()[1]
    passes = {
        DigitUNet: cfdg_study.evaluations(
            header["n_train_steps"], cfdg.DEFAULT.steps, cfdg.DEFAULT.w
        ),
        ReportUNet: 2 * 400,  # the report's T steps of DDPM, each guided
    }
    ours, theirs = (n * pass_seconds(make()) for make, n in passes.items())
    yield one(result["records"], "ratio", "samples_per_s", precision="float32"), theirs / ours


@torch.inference_mode()
def pass_seconds(model: nn.Module, n: int = 100) -> float:
    """Seconds of one pass of n digits, the best of three after one to warm up."""
    model = model.eval().to(memory_format=torch.channels_last)
    x, t, labels = torch.rand(n, 3, 28, 28), torch.zeros(n).long(), torch.arange(n) % 10
    taken = []
    for _ in range(4):
        began = time.perf_counter()
        model(x, t, labels)
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def target_accuracy(result: dict) -> Checked:
    """The shipped weights, which are the first seed's, on the target's real test images."""
    target = result["name"].removeprefix("dann-")
    test = real_test_set(target, result)
    network, _ = dann_net.load(WEIGHTS / f"dann-{target}.safetensors")
    right = dann_net.classify_tensor(network, test.images) == test.labels
    yield one(result["records"], SHIPPED, "accuracy"), right.double().mean().item()


def real_test_set(name: str, result: dict) -> digits.DigitSet:
    """The recorded test images of a domain; NotHere without them."""
    domain = digits.load(name)
    if not domain.sha256.items() <= result["data"]["sha256"].items() or not domain.sha256:
        raise NotHere(
            f"the recorded test images of {name} (`hw2 data fetch`, or HW2_DATA); "
            f"here are {domain.data} data"
        )
    return domain.test


class Anew(Sampler):
    """A sampler that takes nothing from the cache."""

    def kept(self, what: tuple, x: Tensor, make: Callable[[], Tensor]) -> Tensor:
        return make().half().float()


def walk_norms(result: dict) -> Checked:
    """The norm half-way between two noises, as a share of the mean of the ends."""
    records = select(result["records"], "walk", "norm", alpha=0.5)
    ends = walks.pair_noises(Anew(*ddim.load_face_unet()), len(records[0]["values"]))
    for way in WAYS:
        x = torch.stack([path(a, b, [0, 0.5, 1], way) for a, b in ends.unflatten(0, (-1, 2))])
        norms = x.flatten(2).norm(dim=2)  # (pairs, 3)
        share = norms[:, 1] / norms[:, [0, 2]].mean(1)
        yield one(records, "walk", "norm", way=way), share.mean().item()


def noise_shares(result: dict) -> Checked:
    """What part of the noise is drawn anew: arithmetic of the schedule alone."""
    draw = Anew(*ddim.load_face_unet())
    for here in share_records(draw.schedule, result["settings"]["steps"]):
        recorded = one(result["records"], here["row"], here["score"], **here["setting"])
        yield recorded, here["mean"]


def first_estimates(result: dict) -> Checked:
    """What the network sees in an input that is too weak or too strong."""
    records = select(result["records"], "first estimate")
    draw = Anew(*ddim.load_face_unet())
    scales = sorted({float(r["setting"]["scale"]) for r in records})
    images = walks.first_estimates(draw, draw.starts(range(len(records[0]["values"]))), scales)
    for here in walks.estimate_records(images, scales):
        yield one(records, here["row"], here["score"], **here["setting"]), here["mean"]


def inversion(result: dict) -> Checked:
    """Faces turned back to noise and drawn again in float32, at the smallest number of steps."""
    records = select(result["records"], "inversion")
    steps = min(r["setting"]["steps"] for r in records)
    n = len(records[0]["values"])
    model, header = ddim.load_face_unet()
    draw = Anew(model, header)
    draw.predict = model  # not in mixed precision
    found = walks.inversion(draw, n, [steps])
    for here in walks.inversion_records(found):
        yield one(records, here["row"], here["score"], steps=steps), here["mean"]


def sampler_error(result: dict, model: FaceUNet | None = None, side: int = 256) -> Checked:
    """A face of the course's network with random weights, against `recipe`, in three steps."""
    model = model or course_network()
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    header = {"schedule": "linear", "n_train_steps": 1000, "prediction": "eps"}
    face = ddim.sample_faces(model, header, noise, ddim.Sampling(3))[0]
    difference = ddim.to_picture(face).numpy().astype(float) - recipe(model, noise[0].numpy(), 3)
    yield one(result["records"], "course", "squared_error"), float((difference**2).mean())


def course_network() -> FaceUNet:
    """The course's network with random weights. A tenth of the last layer: at full strength random
    weights are chaotic, and rounding decides the picture."""
    torch.manual_seed(0)
    model = FaceUNet()
    with torch.no_grad():
        model.out[2].weight.mul_(0.1)
    return model.eval()


def recipe(model: FaceUNet, noise: np.ndarray, steps: int) -> np.ndarray:
    """The reference's loop in float64; noise (3, H, W) -> uint8 picture (3, H, W)."""
    ab = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))
    x, stride = noise.astype(np.float64), 1000 // steps
    for t in range(stride * (steps - 1) + 1, 0, -stride):
        n = max(t - stride, 0)
        with torch.no_grad():
            eps = model(torch.from_numpy(x)[None].float(), torch.tensor([t]))[0].double().numpy()
        x_0 = np.clip((x - np.sqrt(1 - ab[t]) * eps) / np.sqrt(ab[t]), -1, 1)
        x = np.sqrt(ab[n]) * x_0 + np.sqrt(1 - ab[n]) * eps
    scaled = (x - x.min()) / (x.max() - x.min())
    return np.floor(scaled * 255 + 0.5).clip(0, 255).astype(np.uint8)


CHECKS: dict[str, tuple[Callable[[dict], Checked], ...]] = {
    "faces": (walk_norms, noise_shares, first_estimates),
    "faces-inversion": (inversion,),
    "faces-speed": (sampler_error,),
    "dann-svhn": (target_accuracy,),
    "dann-usps": (target_accuracy,),
    "dann-mnistm": (target_accuracy,),
    "digits-speed": (sampling_ratio,),
    "digits-rejection": (rejection_accuracy,),
    "digits": (real_accuracy, digit_accuracy),
}


def verify(name: str | None = None) -> int:
    """Check the result file `name`, or all; prints a line a number. Returns how many lie outside.

    Errors: UserError for an unknown name, and where there are no recorded results.
    """
    names = sorted(file.stem for file in RESULTS.glob("*.json"))
    if not CLONE or not names:
        raise UserError(f"no recorded results in {RESULTS}; run this in a clone of the repository")
    if name is not None:
        check_known("result", name, names)
    counts = {"inside": 0, "outside": 0, "not judged": 0}
    rest = []
    for this in [name] if name else [*CHECKS, *(n for n in names if n not in CHECKS)]:
        result, checked = load(this, RESULTS), 0
        for check in CHECKS.get(this, ()):
            print(f"{this}: {check.__doc__.splitlines()[0]}", flush=True)
            began = time.perf_counter()
            try:
                for recorded, here in check(result):
                    verdict = judged(recorded, here)
                    counts[verdict] += 1
                    checked += 1
                    now = time.perf_counter()
                    numbers = f"recorded {shown(recorded):<26} here {here:<10.4g}"
                    took = f"{now - began:5.1f} s"
                    print(f"  {said(recorded):<44} {numbers} {verdict:<10} {took}", flush=True)
                    began = now
            except NotHere as needed:
                print(f"  not verified: needs {needed}", flush=True)
        rest.append(f"  {this}: {len(result['records']) - checked} of {len(result['records'])}"
                    f" numbers, recorded in {result['seconds'] / 60:,.0f} min")  # fmt: skip
    print("not verified, since it takes the trainings, samples or data of the recording again"
          " (commands: book/provenance):", *rest, sep="\n")  # fmt: skip
    print(", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    return counts["outside"]


def judged(recorded: dict, here: float) -> str:
    """Whether a value is "inside", "outside" or "not judged", as the module's docstring tells."""
    if recorded["score"] == "squared_error":
        return "inside" if here < RECIPE_LIMIT else "outside"
    if recorded["row"] == "ratio":
        return "not judged"
    low, high = (recorded["mean"] if end is None else end
                 for end in (recorded["low"], recorded["high"]))  # fmt: skip
    rounding = 1e-6 * abs(recorded["mean"])
    return "inside" if low - rounding <= here <= high + rounding else "outside"


def shown(recorded: dict) -> str:
    """A record's mean, and its interval where it has one."""
    text = f"{recorded['mean']:.4g}"
    if recorded["low"] is None:
        return text
    return f"{text} [{recorded['low']:.4g}, {recorded['high']:.4g}]"
