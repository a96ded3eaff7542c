"""The face UNet: loads the course's `UNet.pt`, and is, smaller, the shipped face model.

The default configuration has 113,673,219 parameters in 427 tensors and works on 256x256 faces; the
names of its parts are those of the course's checkpoint, so that `load_state_dict(strict=True)`
holds. The shipped model is the same class with fewer channels on unfolded 2x2 pixel patches.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hw2lib.device import device, mixed_precision
from hw2lib.diffusion import Predict
from hw2lib.errors import UserError
from hw2lib.io.parameters import Count, settings


@settings
class FaceConfig:
    """Channels of each resolution, residual blocks a resolution, which resolutions attend.

    `unfold` > 1 turns each square of pixels into channels first (a cheaper first resolution).
    `groups` of the group norms must be fewer than the channels: the norm of a single channel
    would take away the time that a residual block adds to it. `mean` adds a linear path for the
    mean of the input over all positions, to which norms of few channels are nearly blind.
    """

    widths: Annotated[
        tuple[Annotated[int, Field(ge=2, le=4096)], ...], Field(min_length=1, max_length=8)
    ] = (128, 128, 256, 256, 512, 512)  # fmt: skip
    blocks: Annotated[int, Field(ge=1, le=16)] = 2
    attention: tuple[int, ...] = (4,)  # indices into widths; mid1 always attends
    unfold: Annotated[int, Field(ge=1, le=16)] = 1
    groups: Count = 32
    mean: bool = False

    def __post_init__(self) -> None:
        if any(width % self.groups or width == self.groups for width in self.widths):
            raise UserError(f"widths={self.widths}; multiples of groups={self.groups} are right")


SMALL = FaceConfig(widths=(64, 128, 160, 160), blocks=1, attention=(2,), unfold=2, mean=True)
COARSE = FaceConfig(widths=(128, 128, 128), blocks=1, attention=(1,), unfold=4)
TINY = FaceConfig(widths=(32, 32), blocks=1, attention=(), unfold=4, groups=8)


class SinusoidalEmbedding(nn.Module):
    """t -> (sin(t f_0), .., cos(t f_0), ..), f_i = 10000^(-2i / width)  (Vaswani et al. 2017)."""

    def __init__(self, width: int):
        super().__init__()
        exponent = torch.arange(0, width, 2, device="cpu") / width  # meta's imports a compiler
        self.register_buffer("inv_freq", torch.exp(-math.log(10000) * exponent))

    def forward(self, t: Tensor) -> Tensor:
        angle = t.float()[:, None] * self.inv_freq  # (B, width / 2)
        return torch.cat([angle.sin(), angle.cos()], dim=1)  # (B, width)


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with weights and bias of 0: what follows it begins with nothing from it."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class GroupNorm(nn.GroupNorm):
    """torch's, without its slow way on a CPU: in bfloat16 and channels_last it takes ten times as
    long for less than 32x32 positions, and a quarter of the small network's time."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.shape[-2] * x.shape[-1] < 1024:
            x = x.contiguous()
        return super().forward(x)


class ResidualBlock(nn.Module):
    """GN, SiLU, conv; + time; GN, SiLU, conv; + the input (through a 1x1 conv if widths differ)."""

    def __init__(self, c_in: int, c_out: int, c_time: int, groups: int = 32):
        super().__init__()
        self.norm1 = GroupNorm(groups, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(c_time, c_out))
        self.norm2 = GroupNorm(groups, c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        if c_in != c_out:
            self.skip = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(time)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.skip(x) if hasattr(self, "skip") else x)


class Attention(nn.Module):
    """One head over all positions: softmax(q . k / sqrt(C)) v, added to the input."""

    def __init__(self, c: int, groups: int = 32):
        super().__init__()
        self.norm = GroupNorm(groups, c)
        self.qkv = nn.Conv2d(c, 3 * c, 1)
        self.out = nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)  # (B, HW, C)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(b, c, h, w))


class Stage(nn.Module):
    """A residual block, followed by attention where the configuration asks for it."""

    def __init__(self, c_in: int, c_out: int, c_time: int, groups: int, attention: bool):
        super().__init__()
        self.resblocks = ResidualBlock(c_in, c_out, c_time, groups)
        if attention:
            self.attention = Attention(c_out, groups)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.resblocks(x, time)
        return self.attention(x) if hasattr(self, "attention") else x


class MeanPath(nn.Module):
    """W(t) m for the mean m of the input's channels; W = 0 before training.

    The mean of the noise is the part of x_t that changes slowest: where nothing removes it, it is
    in the sample, for patches of 2x2 pixels as a pattern of dots.
    """

    def __init__(self, c: int, c_time: int):
        super().__init__()
        self.matrix = nn.Sequential(nn.SiLU(), zeroed(nn.Linear(c_time, c * c)))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        m = x.mean((2, 3))  # (B, C)
        w = self.matrix(time).reshape(-1, m.shape[1], m.shape[1])  # (B, C, C)
        return (w.float() @ m.float()[:, :, None])[..., None]  # (B, C, 1, 1)


class FaceUNet(nn.Module):
    """x (B, 3, H, W), t (B,) in 0..999 -> the prediction (B, 3, H, W).

    H and W must be multiples of `unfold * 2^(levels - 1)`: 32 for the course's configuration.
    """

    def __init__(self, config: FaceConfig | None = None):
        super().__init__()
        config = config or FaceConfig()
        self.config = config
        widths, first, groups = config.widths, config.widths[0], config.groups
        c_time, c_image = 4 * first, 3 * config.unfold**2
        self.time = nn.Sequential(
            SinusoidalEmbedding(first),
            nn.Linear(first, c_time),
            nn.SiLU(),
            nn.Linear(c_time, c_time),
        )
        self.down1 = nn.Conv2d(c_image, first, 3, padding=1)
        skips, c, n = [first], first, 1
        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                n += 1
                attention = level in config.attention
                setattr(self, f"down{n}", Stage(c, width, c_time, groups, attention))
                c = width
                skips.append(c)
            if level < len(widths) - 1:
                n += 1
                strided = nn.Sequential(nn.Conv2d(c, c, 3, stride=2, padding=1))
                setattr(self, f"down{n}", strided)
                skips.append(c)
        self.n_down, n = n, 0
        self.mid1 = Stage(c, c, c_time, groups, True)
        self.mid2 = Stage(c, c, c_time, groups, False)
        for level in reversed(range(len(widths))):
            for _ in range(config.blocks + 1):
                n += 1
                attention = level in config.attention
                stage = Stage(c + skips.pop(), widths[level], c_time, groups, attention)
                setattr(self, f"up{n}", stage)
                c = widths[level]
            if level > 0:
                n += 1
                upsample = nn.Upsample(scale_factor=2, mode="nearest")
                grow = nn.Sequential(upsample, nn.Conv2d(c, c, 3, padding=1))
                setattr(self, f"up{n}", grow)
        self.n_up = n
        last = nn.Conv2d(first, c_image, 3, padding=1)
        self.out = nn.Sequential(GroupNorm(groups, first), nn.SiLU(), last)
        if config.mean:
            self.mean = MeanPath(c_image, c_time)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        config = self.config
        multiple = config.unfold * 2 ** (len(config.widths) - 1)
        if x.shape[-1] % multiple or x.shape[-2] % multiple:
            raise UserError(
                f"images of {x.shape[-2]}x{x.shape[-1]} pixels do not fit this face UNet; "
                f"height and width must be multiples of {multiple}"
            )
        time = self.time(t)  # (B, c_time)
        patches = F.pixel_unshuffle(x, config.unfold)  # (B, 3 unfold^2, H / unfold, W / unfold)
        x = self.down1(patches)
        skips = [x]
        for n in range(2, self.n_down + 1):
            part = getattr(self, f"down{n}")
            x = part(x, time) if isinstance(part, Stage) else part(x)
            skips.append(x)
        x = self.mid2(self.mid1(x, time), time)
        for n in range(1, self.n_up + 1):
            part = getattr(self, f"up{n}")
            if isinstance(part, Stage):
                x = part(torch.cat([x, skips.pop()], dim=1), time)
            else:
                x = part(x)
        x = self.out(x)
        if config.mean:
            x = x + self.mean(patches, time)
        return F.pixel_shuffle(x, config.unfold)


def in_mixed_precision(network: FaceUNet) -> Predict:
    """The network (B, 3, H, W), (B,) -> (B, 3, H, W) in mixed precision: half the time where the
    processor multiplies in bfloat16."""
    network = network.to(device(), memory_format=torch.channels_last).eval()

    def predict(x: Tensor, t: Tensor) -> Tensor:
        with mixed_precision(x.device):
            return network(x, t).float()

    return predict
