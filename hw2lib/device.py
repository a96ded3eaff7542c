"""Where it runs, in which precision, and in how many processes."""

import os
import platform
import re
from pathlib import Path

import torch
from torch import nn


def device() -> torch.device:
    """The GPU if there is one (each process of `torchrun` its own), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def process() -> tuple[int, int]:
    """(number, count) of the processes that `torchrun` started for one training, else (0, 1)."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def mixed_precision(where: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where that is fast; elsewhere it does nothing."""
    return torch.autocast(where.type, torch.bfloat16, enabled=fast_bfloat16(where))


def fast_bfloat16(where: torch.device) -> bool:
    """Whether bfloat16 beats float32: on a GPU, and on a processor with instructions for it."""
    return where.type == "cuda" or has("amx_bf16") or has("avx512_bf16")


def has(capability: str) -> bool:
    """Whether the processor has this capability, by torch's name for it."""
    known = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch knows none
    return bool(known.get(capability, False))


def precision() -> str:
    """In which precision networks run here: "bfloat16" or "float32"."""
    return "bfloat16" if fast_bfloat16(device()) else "float32"


def training_layout(model: nn.Module) -> nn.Module:
    """`model` in the memory format that trains fastest: channels_last, but not under AMX, where
    the backward pass of convolutions is a fifth faster without it."""
    amx = device().type == "cpu" and has("amx_bf16")
    return model.to(memory_format=torch.contiguous_format if amx else torch.channels_last)


def device_name() -> str:
    """The GPU's name, or the processor's with the number of threads in use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)[1]
    except (OSError, TypeError):  # no such file, or no such line: not an ordinary Linux
        pass
    return f"{name.strip()}, {torch.get_num_threads()} threads"
