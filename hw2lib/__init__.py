"""hw2lib: conditional diffusion, DDIM sampling of faces, and domain-adversarial training.

The methods are the modules on top and `models`; start with `diffusion`, `samplers` or `adaptation`.
The names below are imported when they are first used: `import hw2lib` alone loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # what editors and type checkers see: the table below once more
    from hw2lib.adaptation import gradient_reversal
    from hw2lib.commands.classify import classify
    from hw2lib.commands.folders import digits_into, faces_into
    from hw2lib.diffusion import guided, make_schedule
    from hw2lib.experiments.cfdg import Sampling, load_digit_unet, sample_digits, sample_until_read
    from hw2lib.experiments.dann import adapt
    from hw2lib.experiments.ddim import load_face_unet, sample_faces
    from hw2lib.interpolation import lerp, slerp
    from hw2lib.models.dann_net import Network, classify_tensor
    from hw2lib.samplers import Denoiser, sample_ddim, sample_ddpm, sample_dpmpp

_HOMES = {
    "adaptation": ("gradient_reversal",),
    "commands.classify": ("classify",),
    "commands.folders": ("digits_into", "faces_into"),
    "diffusion": ("guided", "make_schedule"),
    "experiments.cfdg": ("Sampling", "load_digit_unet", "sample_digits", "sample_until_read"),
    "experiments.dann": ("adapt",),
    "experiments.ddim": ("load_face_unet", "sample_faces"),
    "interpolation": ("lerp", "slerp"),
    "models.dann_net": ("Network", "classify_tensor"),
    "samplers": ("Denoiser", "sample_ddim", "sample_ddpm", "sample_dpmpp"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'hw2lib' has no attribute {name!r}")
    return getattr(import_module(f"hw2lib.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
