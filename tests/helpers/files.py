"""Files that tests make."""

import bz2
from pathlib import Path

import numpy as np
from PIL import Image


def save(path: Path, content: bytes) -> None:
    """Write a file, and the folders that lead to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def make_course(folder, name="usps", size=28, mode="L", below="hw2_data"):
    base = folder / below / "digits" / name
    (base / "data").mkdir(parents=True)
    for part, n in (("train", 20), ("val", 10)):
        rows = ["image_name,label"]
        for i in range(n):
            image = Image.new(mode, (size, size), i if mode == "L" else (i, 2, 3))
            image.save(base / "data" / f"{part}{i}.png")
            rows.append(f"{part}{i}.png,{i % 10}")
        (base / f"{part}.csv").write_text("\n".join(rows) + "\n")
    return base


def idx(array) -> bytes:
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + shape + array.astype(np.uint8).tobytes()


def make_mnist(folder, n=20):
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        glyphs = rng.integers(0, 256, (n, 28, 28)) * (rng.random((n, 28, 28)) < 0.2)
        save(folder / f"MNIST/raw/{part}-images-idx3-ubyte", idx(glyphs))
        save(folder / f"MNIST/raw/{part}-labels-idx1-ubyte", idx(np.arange(n) % 10))


def make_photos(folder, size=(40, 30)):
    rng = np.random.default_rng(1)
    for part in ("train", "test"):
        for i in range(3):
            path = folder / f"BSDS500/{part}/{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)


def make_usps(folder, n=20):
    for name in ("usps.bz2", "usps.t.bz2"):
        lines = [f"{i % 10 + 1} " + " ".join(f"{j + 1}:{i / n * 2 - 1:.4f}" for j in range(256))
                 for i in range(n)]  # fmt: skip
        save(folder / "USPS" / name, bz2.compress("\n".join(lines).encode()))


def make_svhn(folder, n=30):
    (folder / "SVHN").mkdir(parents=True, exist_ok=True)
    x = np.random.default_rng(2).integers(0, 256, (n, 32, 32, 3), np.uint8)
    np.savez(folder / "SVHN/crops.npz", x=x, y=np.arange(n) % 10)
    return x
