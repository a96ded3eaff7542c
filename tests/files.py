"""Files that tests make."""

from pathlib import Path


def save(path: Path, content: bytes) -> None:
    """Write a file, and the folders that lead to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
