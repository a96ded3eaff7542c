"""The face study's measurements as entries of the result file `faces`, under the names that the
book asks for: frechet_ours, worse_s50_eta100, change_eta_025, decoded_s50 and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from hw2lib.diffusion import Schedule
from hw2lib.face_study import ETAS, left_of_the_start, noise_share, quality, worse_by
from hw2lib.metrics import detail, metric

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


def inversion_entries(found: Mapping[int, tuple[Tensor, Tensor]]) -> Entries:
    """decoded_s50: error of the faces decoded again; encoded_s50: of their noise, as a share."""
    entries = {}
    for n, (face_error, noise_error) in found.items():
        entries[f"decoded_s{n}"] = metric(face_error.tolist(), 1, "distance")
        entries[f"encoded_s{n}"] = metric(noise_error.tolist(), 1, "ratio")
    return entries


def estimate_entries(images: Tensor, scales: Sequence[float]) -> Entries:
    """first_contrast_070, first_detail_070: of the first estimates (N, scales, 3, H, W), as shares
    of those at scale 1; one value a noise."""
    contrast = images.flatten(2).std(dim=2)  # (N, scales)
    fine = detail(images.flatten(0, 1)).unflatten(0, contrast.shape)
    one, entries = list(scales).index(1.0), {}
    for name, x in (("contrast", contrast), ("detail", fine)):
        for k, scale in enumerate(scales):
            values = (x[:, k] / x[:, one]).tolist()
            entries[f"first_{name}_{percent(scale)}"] = metric(values, 1, "ratio")
    return entries


def text_table(entries: Entries, names: Sequence[str]) -> str:
    """Lines `name  mean [low, high]` of the entries asked for."""
    lines, width = [], max(map(len, names), default=0) + 2
    for name in names:
        e = entries[name]
        within = "" if e["low"] is None else f"  [{e['low']:.3f}, {e['high']:.3f}]"
        lines.append(f"{name:<{width}}{e['mean']:8.3f}{within}")
    return "\n".join(lines)
