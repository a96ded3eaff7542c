"""Files that tests make."""

from pathlib import Path

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
