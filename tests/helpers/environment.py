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


def locked() -> list[str]:
    """The requirement lines of the lock."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def environment() -> str:
    """The text that environment.yml must have."""
    pip = "".join(f"      - {line!r}\n".replace("\\'", "''") for line in locked())
    return HEAD + pip + "      - -e .\n"


if __name__ == "__main__":
    print(environment(), end="")
