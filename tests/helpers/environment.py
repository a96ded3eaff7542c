"""environment.yml from the lock: `python tests/helpers/environment.py > environment.yml`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HEAD = """\
# For conda and Binder; made from requirements.lock by `make lock`, held equal to it by a test.
name: hw2lib
channels:
  - conda-forge
dependencies:
  - python=3.11
  - git
  - graphviz
  - make
  - pip
  - pip:
"""


def hashed() -> dict[str, list[str]]:
    """The requirements of the lock, each with the digests that its files may have."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    parts = [line.split(" --hash=") for line in text.splitlines()]
    return {name.strip(): [digest.strip() for digest in digests] for name, *digests in parts}


def locked() -> list[str]:
    """The requirements of the lock; conda's `-e .` allows no digests beside it."""
    return [*hashed()]


def environment() -> str:
    """The text that environment.yml must have."""
    pip = "".join(f"      - {line!r}\n".replace("\\'", "''") for line in locked())
    return HEAD + pip + "      - -e .\n"


if __name__ == "__main__":
    print(environment(), end="")
