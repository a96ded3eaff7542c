"""Result files from keys that are sentences to records; no value changes.

python benchmarks/convert_results.py OLD_FOLDER NEW_FOLDER
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

SOLVERS = {"DDIM": "ddim", "DPM-Solver++(2M)": "dpmpp", "DDPM": "ddpm"}
Name = tuple[str, str, dict]  # row, score, setting


def number(text: str) -> float | int:
    value = float(text)
    return int(value) if value == int(value) else value


def of_adaptation(row: str, said: str, target: str) -> Name:
    setting = {"target": target}
    if row == "label shift":
        return "label_shift", said.replace(" ", "_"), setting
    if said.startswith("by "):
        chosen = said.removeprefix("by ").replace(" ", "_")
        return row, "accuracy", {**setting, "chosen_by": chosen}
    scores = {
        "": ("accuracy", {}), "on the source": ("source_accuracy", {}),
        "read once": ("accuracy", {"views": 1}),
        "validation read once": ("validation", {"views": 1}),
    }  # fmt: skip
    score, more = scores.get(said, (said.replace(" ", "_"), {}))
    return row, score, {**setting, **more}


def of_table(name: str, key: str) -> Name:
    row, _, said = key.partition(": ")
    return of_adaptation(row, said, name.removeprefix("dann-"))


def of_rows_apart(name: str, key: str) -> Name:
    where, _, said = key.partition(": ")
    target, row = where.split(", ")
    return of_adaptation(row, said, target)


def of_ablation(name: str, key: str) -> Name:
    where, _, score = key.rpartition(": ")
    target, _, row = where.partition(", ")
    setting: dict = {"target": target}
    for said, shares in (
        ("source with the target's shares, ", "as the target's"),
        ("few 5 to 9 in the target, ", "few 5 to 9 in the target"),
    ):
        if row.startswith(said):
            row, setting = row.removeprefix(said), {**setting, "shares": shares}
    for said, factor in ((", learning rate halved", 0.5), (", learning rate doubled", 2)):
        if row.endswith(said):
            row, setting = row.removesuffix(said), {**setting, "lr_factor": factor}
    if found := re.fullmatch(r"teacher ([\d.]+)", row):
        row, setting = "everything", {**setting, "teacher": number(found[1])}
    if found := re.fullmatch(r"self-training, source let go to ([\d.]+)", row):
        row, setting = "self-training", {**setting, "label_end": number(found[1])}
    if found := re.fullmatch(r"(.*), lambda ([\d.]+)( from the start)?", row):
        row, setting = found[1], {**setting, "adversarial": number(found[2])}
        if found[3]:
            setting["ramp"] = False
    return row, score, setting


def of_reading(name: str, key: str) -> Name:
    where, _, score = key.partition(": ")
    target, _, row = where.partition(", ")
    views = {"once": 1, "twice": 2, "settled, in ten views": 10, "in ten views": 10}
    said = next(
        said
        for said in views
        if row.endswith(said) and (said != "in ten views" or "settled" not in row)
    )
    setting = {"target": target, "views": views[said], "settled": "settled" in row}
    return row.removesuffix(said).strip(), score, setting


def of_speed(name: str, key: str) -> Name:
    if key == "seconds for the samples":
        return "ours", "seconds", {"samples": 1000}
    if found := re.fullmatch(r"seconds to ([\d.]+)", key):
        return "ours", "seconds", {"accuracy": number(found[1])}
    where, _, said = key.partition(": ")
    scores = {
        "training images/s": "training_images_per_s", "samples/s": "samples_per_s",
        "images/s": "images_per_s", "MFLOP an image": "mflop_per_image",
        "share of the peak": "peak_share", "share of the peak in training": "peak_share",
    }  # fmt: skip
    row, _, precision = where.partition(", ")
    row = {"report's": "report"}.get(row, row)
    if precision.startswith("ours as shipped"):
        precision = "each as shipped"
    return row, scores[said], {"precision": precision} if precision else {}


def of_guidance(name: str, key: str) -> Name:
    where, _, score = key.rpartition(": ")
    score = {"images": "images_seen"}.get(score, score)
    if where == "real images":
        return "real", score, {}
    p_drop, _, strength = where.removeprefix("p_drop = ").partition(", ")
    setting = {"p_drop": number(p_drop), "w": 1.25, "steps": 10, "solver": "dpmpp"}
    if strength != "by default":
        w, _, part = strength.removeprefix("w = ").partition(" at t = ")
        setting |= {"w": number(w), "steps": 20, "solver": "ddim"}
        if part:
            setting["interval"] = [int(t) for t in part.split(" to ")]
    return "samples", score, setting


def of_recipe(name: str, key: str) -> Name:
    if key == "seconds":
        return "training", "seconds", {}
    where, _, score = key.rpartition(": ")
    row, _, w = where.rpartition(", w = ")
    row, prediction = {
        "ours": ("ours", "v"), "ours, rectified flow": ("ours", "flow"),
        "the report's": ("report", "eps"),
    }[row]  # fmt: skip
    return (
        row,
        {"images": "images_seen"}.get(score, score),
        {"prediction": prediction, "w": number(w)},
    )


def of_setting(name: str, key: str) -> Name:
    where, _, score = key.rpartition(": ")
    if where == "real images":
        return "real", score, {}
    what, _, w = where.rpartition(", w = ")
    if what in ("first half of the training", "the shipped model"):
        return "samples", score, {"training": 0.5 if "half" in what else 1, "w": number(w)}
    solver, steps = what.removesuffix(" steps").split(", ")
    return "samples", score, {"solver": SOLVERS[solver], "steps": int(steps), "w": number(w)}


def of_steps(name: str, key: str, n: int) -> Name | None:
    where, _, score = key.rpartition(": ")
    if score == "samples":
        return None  # it is `n`
    if where.startswith("real images"):
        return "real", score, {"samples": n}
    solver, steps = where.removesuffix(", fewer samples").split(", ")
    steps = re.search(r"\d+", steps)[0]
    return "samples", score, {"solver": SOLVERS[solver], "steps": int(steps), "samples": n}


def of_trials(name: str, key: str) -> Name:
    if key == "seconds":
        return "training", "seconds", {}
    row, _, score = key.rpartition(": ")
    score = {"images": "images_seen", "drawing speed": "drawing_speed"}.get(score, score)
    setting = {}
    if found := re.fullmatch(r"(.*), seed (\d)", row):
        row, setting = found[1], {"seed": int(found[2])}
        row = {"the same": "4x4 pixels, 128-128-128 channels"}.get(row, row)
    return row, score, setting


def of_digits(name: str, key: str) -> Name:
    guided = {"w": 1.25, "steps": 10}
    return {
        "guided": ("guided", "accuracy", guided),
        "unguided": ("unguided", "accuracy", {**guided, "w": 0}),
        "judge_real": ("real", "accuracy", {}),
        "nearer_in_pixels": ("guided", "nearer_in_pixels", guided),
        "nearer_in_features": ("guided", "nearer_in_features", guided),
        "recall_of_real": ("samples", "recall_of_real", {"p_drop": 0.1, **guided}),
        "guided_frechet": ("guided", "frechet", guided),
        "guided_recall": ("guided", "recall", guided),
        "unguided_frechet": ("unguided", "frechet", {**guided, "w": 0}),
        "unguided_recall": ("unguided", "recall", {**guided, "w": 0}),
    }[key]


def of_dots(name: str, key: str) -> Name:
    where, _, score = key.partition(": ")
    row, setting = {
        "the starting noise": ("start", {}),
        "drawn without the path": ("drawn", {"mean_path": False}),
        "drawn faces": ("drawn", {"mean_path": True}), "real faces": ("real", {}),
    }[where]  # fmt: skip
    return row, score, setting


def of_face_speed(name: str, key: str) -> Name:
    where, _, said = key.partition(": ")
    row, pixels, batch = where.split(", ")
    score = {
        "faces a second": "faces_per_s", "sampler's share of the time": "sampler_share",
        "seconds a step": "seconds_per_step", "peak memory in GiB": "peak_memory_gib",
        "mean square error to the recipe, 0..255": "squared_error",
    }[said]  # fmt: skip
    setting = {"pixels": int(pixels.split("x")[0]), "batch": int(batch.removeprefix("batch "))}
    return {"shipped": "shipped", "course's": "course"}[row], score, setting


def of_faces(name: str, key: str) -> Name | None:
    share = {"eta": r"eta_?(\d\d\d)", "scale": r"(\d\d\d)$"}

    def found(what: str) -> float | int:
        return number(str(int(re.search(share[what], key)[1]) / 100))

    if key == "change_other":
        return "other noise", "change", {}
    if key.startswith("change_"):
        return "drawn", "change", {"eta": found("eta")}
    if key.startswith(("fresh_", "left_")):
        return "noise", key.rpartition("_eta")[0], {"eta": found("eta")}
    if key in ("frechet_ours", "kernel_ours"):
        return None  # the same samples as at 50 steps and eta 0
    if match := re.fullmatch(r"(frechet|kernel)_(real|blurred)", key):
        return match[2], match[1], {}
    if key in ("near", "nearest_ratio"):
        return "drawn", key, {}
    if match := re.fullmatch(r"(frechet|kernel|worse)_s(\d+)_eta\d+", key):
        return "drawn", match[1], {"steps": int(match[2]), "eta": found("eta")}
    if match := re.fullmatch(r"(\w+?)_(slerp|lerp|rescaled)(_mid)?", key):
        half = {"alpha": 0.5} if match[3] else {}
        return "walk", match[1], {"way": match[2], **half}
    if match := re.fullmatch(r"first_(contrast|detail)_\d+", key):
        return "first estimate", match[1], {"scale": found("scale")}
    match = re.fullmatch(r"(decoded|encoded)_s(\d+)", key)
    score = {"decoded": "face_error", "encoded": "noise_error"}[match[1]]
    return "inversion", score, {"steps": int(match[2])}


OF = {
    "dann-svhn": of_table, "dann-usps": of_table, "dann-mnistm": of_table,
    "dann-no-masks": of_rows_apart, "dann-report-form": of_rows_apart,
    "dann-ablation": of_ablation, "dann-reading": of_reading, "dann-speed": of_speed,
    "digits": of_digits, "digits-guidance": of_guidance, "digits-recipe": of_recipe,
    "digits-setting": of_setting, "digits-speed": of_speed, "digits-trials": of_trials,
    "faces": of_faces, "faces-dots": of_dots, "faces-speed": of_face_speed,
    "faces-trials": of_trials,
}  # fmt: skip


def converted(old: dict) -> dict:
    name, metrics = old["name"], old["metrics"]
    records = []
    for key, entry in metrics.items():
        named = of_steps(name, key, entry["n"]) if name == "digits-steps" else OF[name](name, key)
        if named is None:
            same = {"samples": entry["n"]} if name == "digits-steps" else None
            twin = metrics[key.replace("_ours", "_s50_eta000")] if same is None else None
            assert entry == twin if twin else entry["values"] == [entry["n"]], key
            continue
        row, score, setting = named
        records.append({"row": row, "score": score, "setting": setting, **entry})
    names = [json.dumps([r["row"], r["score"], r["setting"]]) for r in records]
    assert len(set(names)) == len(names), name
    data = dict(old["data"])
    digests = {k.replace("yardstick", "digit-features"): v for k, v in data.pop("sha256").items()}
    weights = {k: v for k, v in digests.items() if k.startswith("weights/")}
    settings = data.pop("settings", {})
    settings = {"steps" if key == "n_steps" else key: value for key, value in settings.items()}
    if "handling" in data:
        settings = {"rows": settings, "handling": data.pop("handling"),
                    "source_images_held_out": data.pop("source images held out")}  # fmt: skip
    new = {
        "name": name, "preset": old["preset"],
        "data": {"source": data.pop("source"),
                 "sha256": {k: v for k, v in digests.items() if k not in weights}},
        "weights": {k.removeprefix("weights/"): v for k, v in weights.items()},
        "settings": settings,
        **{key: old[key] for key in ("seeds", "device", "versions", "commit", "seconds")},
        "records": records,
    }  # fmt: skip
    if "domains" in data:
        new["data"]["domains"] = data.pop("domains")
    if "rows not run yet" in data:
        new["not_run"] = data.pop("rows not run yet")
    if "recorded in" in data:
        new["data"]["recorded_in"] = data.pop("recorded in")
    assert not data, (name, data.keys())
    assert set(old) == {"name", "preset", "data", "seeds", "device", "versions", "commit",
                        "seconds", "metrics"}, old.keys()  # fmt: skip
    return new


def as_text(result: dict) -> str:
    """JSON, a line for each record: a new recording changes the lines of what it measured."""
    head = json.dumps({**result, "records": []}, indent=1, allow_nan=False)
    lines = ",\n".join("  " + json.dumps(r, allow_nan=False) for r in result["records"])
    return head.replace('"records": []', f'"records": [\n{lines}\n ]') + "\n"


def main(old: Path, new: Path) -> None:
    new.mkdir(parents=True, exist_ok=True)
    for file in sorted(old.glob("*.json")):
        result = converted(json.loads(file.read_text(encoding="utf-8")))
        text = as_text(result)
        (new / file.name).write_text(text, encoding="utf-8")
        print(f"{file.name}: {len(result['records'])} records")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
