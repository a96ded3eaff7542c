"""Settings and options that are not allowed."""

from __future__ import annotations

from faults.inputs.base import DIGITS, TRAIN, Case


def cases() -> list[Case]:
    def bad(key: str, *values: object) -> list[Case]:
        return [
            Case(f"set {key} {v}", TRAIN + f" {key}={v}", (f"{key}={v} is not allowed",))
            for v in values
        ]

    return [
        *bad("log_snr_mean", "nan", "inf", "x"), *bad("log_snr_std", "inf", "-1"),
        *bad("min_snr", "inf", "nan", "-1"), *bad("batch_size", 0, 10**12, "x", 1.5),
        *bad("lr", "nan", "inf", 0, -1), *bad("seed", -1, 2**32), *bad("p_drop", 2, "nan"),
        *bad("ema", 1, "nan"), *bad("exchange", "maybe", 2), *bad("save_every_s", -1, "inf"),
        Case("set unknown", TRAIN + " stepz=1", ("stepz", "steps")),
        Case("rows empty", "train dann --data embedded --rows= --out {d}/r", ("row ''", "dann")),
        Case("rows unknown", "train dann --data embedded --rows x --out {d}/r", ("row 'x'",)),
        Case("seed of dann", "train dann --data embedded --out {d}/r --set seed=-1", ("seed=-1",)),
        Case("dann every nan", "train dann --out {d}/r --set save_every_s=nan", ("save_every_s",)),
        *(Case(f"{opt} {v}", f"sample-digits {{d}}/o {opt}={v}", (opt, v, "is right"))
          for opt, v in [("--w", "1e30"), ("--w", "nan"), ("--w", "-2"), ("--per-digit", "10**9"),
                         ("--per-digit", "1000000000"), ("--per-digit", "0"), ("--steps", "0"),
                         ("--seed", "-1")]),
        Case("steps above T", f"{DIGITS} --weights {{w}}/digits.safetensors --steps 1001",
             ("steps=1001", "1 to 1000")),
        Case("warm start missing", "train faces --data embedded --out {d}/r --warm-start {d}/x",
             ("x", "does not exist")),
        Case("warm start of another kind", "train faces --data embedded --out {d}/r --warm-start "
             "{w}/digits.safetensors", ("digits.safetensors", "face_unet")),
        Case("runs away", TRAIN.replace("steps=1", "steps=30") + " lr=1e30 warmup=0",
             ("lower lr",)),
    ]  # fmt: skip
