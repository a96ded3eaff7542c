"""Where it runs and in which precision."""

import pytest
import torch
from helpers.networks import network

from hw2lib import device


@pytest.mark.parametrize("units", ["", "amx_bf16", "avx512_bf16"])
def test_bfloat16_only_where_the_processor_has_instructions_for_it(monkeypatch, units):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {units: True}, raising=False)
    cpu, net = torch.device("cpu"), network()
    with device.mixed_precision(cpu):
        y = net[0](torch.zeros(1, 1, 8, 8))
    assert y.dtype == (torch.bfloat16 if units else torch.float32)
    assert device.precision() == ("bfloat16" if units else "float32")
    weight = device.training_layout(net)[0].weight
    assert weight.dtype == torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # torch 2.11
    assert not device.fast_bfloat16(cpu) and device.fast_bfloat16(torch.device("cuda"))


def test_device_name_is_one_line():
    assert device.device_name()
    assert "\n" not in device.device_name()
