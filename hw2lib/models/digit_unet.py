"""The conditional digit UNet, and the one that follows the report being reproduced.

Both map (x (B, 3, 28, 28), t (B,) in 0..T-1, label (B,) in 0..10) to a prediction (B, 3, 28, 28).
Label 10 is the null label of classifier-free guidance, a learnt embedding like the others.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hw2lib.io.parameters import settings
from hw2lib.models.face_unet import SinusoidalEmbedding, zeroed

NULL_LABEL = 10
Width = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]  # channels, in 8 groups
Blocks = Annotated[int, Field(ge=1, le=16)]


@settings
class DigitConfig:
    """Channels and residual blocks of the two resolutions, width of the condition vector.

    `unfold` 2 turns 2x2 pixels into channels, so that the resolutions are 14x14 and 7x7;
    with 1 they are 28x28 and 14x14.
    """

    widths: tuple[Width, Width] = (64, 128)
    blocks: tuple[Blocks, Blocks] = (2, 2)
    c_condition: Annotated[int, Field(ge=1, le=4096)] = 256
    unfold: Literal[1, 2] = 2
    scaled: bool = True  # the condition scales and shifts features; else it only shifts them
    guidance_input: bool = False  # the strength w of guidance is an input (Meng et al. 2023)


class AdaBlock(nn.Module):
    """Residual block: h = conv(silu((1 + scale) GN(conv(silu(GN(x)))) + shift)); x + h.

    scale and shift come from the condition (FiLM, Perez et al. 2018; "AdaGN", Dhariwal & Nichol
    2021). The last convolution starts at zero, so that a new block is the identity.
    """

    def __init__(self, c_in: int, c_out: int, c_condition: int, scaled: bool = True):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.condition = nn.Linear(c_condition, (1 + scaled) * c_out)
        self.scaled = scaled
        self.norm2 = nn.GroupNorm(8, c_out)
        self.conv2 = zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))  # (B, c_out, H, W)
        condition = self.condition(condition)[:, :, None, None]
        scale, shift = condition.chunk(2, dim=1) if self.scaled else (0, condition)
        h = self.conv2(F.silu((1 + scale) * self.norm2(h) + shift))
        return self.skip(x) + h


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v over all positions, four heads, added to the input.

    Written out: with 49 positions PyTorch's fused attention is slower backward on a processor.
    """

    def __init__(self, c: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, c)
        self.qkv = nn.Conv2d(c, 3 * c, 1)
        self.out = zeroed(nn.Conv2d(c, c, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        d = c // self.heads
        qkv = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(b, h * w, 3, self.heads, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, HW, d)
        attention = (q @ k.transpose(2, 3) * d**-0.5).softmax(3)  # (B, heads, HW, HW)
        y = (attention @ v).transpose(1, 2).reshape(b, h, w, c)
        return x + self.out(y.permute(0, 3, 1, 2))


class DigitUNet(nn.Module):
    """Two resolutions, 14x14 and 7x7, on 2x2 pixels unfolded to channels: a first resolution four
    times cheaper at no loss of information. (The shapes below are those of `unfold` 2.)"""

    def __init__(self, config: DigitConfig | None = None):
        super().__init__()
        self.config = config = config or DigitConfig()
        (c1, c2), e, s = config.widths, config.c_condition, config.scaled
        self.time = nn.Sequential(SinusoidalEmbedding(c2), nn.Linear(c2, e), nn.SiLU())
        self.time_out = nn.Linear(e, e)
        labels = torch.randn(NULL_LABEL + 1, e)  # nn.Embedding's own; on meta it imports a compiler
        self.label = nn.Embedding.from_pretrained(labels, freeze=False)
        if config.guidance_input:
            self.guidance = nn.Sequential(nn.Linear(1, e), nn.SiLU(), zeroed(nn.Linear(e, e)))
        self.first = nn.Conv2d(3 * config.unfold**2, c1, 3, padding=1)
        n1, n2 = config.blocks
        self.down14 = nn.ModuleList(AdaBlock(c1, c1, e, s) for _ in range(n1))
        self.shrink = nn.Conv2d(c1, c2, 3, stride=2, padding=1)
        self.down7 = nn.ModuleList(AdaBlock(c2, c2, e, s) for _ in range(n2))
        self.attention = SelfAttention(c2)
        self.middle = AdaBlock(c2, c2, e, s)
        self.up7 = nn.ModuleList(AdaBlock(2 * c2, c2, e, s) for _ in range(n2))
        self.grow = nn.Conv2d(c2, 4 * c1, 1)
        self.up14 = nn.ModuleList(AdaBlock(2 * c1, c1, e, s) for _ in range(n1))
        self.norm = nn.GroupNorm(8, c1)
        self.last = zeroed(nn.Conv2d(c1, 3 * config.unfold**2, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, label: Tensor, w: Tensor | None = None) -> Tensor:
        """w (B,) is the strength of guidance, where the configuration makes it an input."""
        condition = self.time_out(self.time(t)) + self.label(label)  # (B, e)
        if self.config.guidance_input:
            condition = condition + self.guidance(w[:, None])
        condition = F.silu(condition)
        x = self.first(F.pixel_unshuffle(x, self.config.unfold))  # (B, c1, 14, 14)
        skips = []
        for block in self.down14:
            x = block(x, condition)
            skips.append(x)
        x = self.shrink(x)  # (B, c2, 7, 7)
        for block in self.down7:
            x = block(x, condition)
            skips.append(x)
        x = self.middle(self.attention(x), condition)
        for block in self.up7:
            x = block(torch.cat([x, skips.pop()], dim=1), condition)
        x = F.pixel_shuffle(self.grow(x), 2)  # (B, c1, 14, 14)
        for block in self.up14:
            x = block(torch.cat([x, skips.pop()], dim=1), condition)
        x = self.last(F.silu(self.norm(x)))
        return F.pixel_shuffle(x, self.config.unfold)  # (B, 3, 28, 28)


# --- the architecture of the report being reproduced ---------------------------------------------


def _double(c_in: int, c_out: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and ReLU, no residual."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
        nn.Conv2d(c_out, c_out, 3, padding=1),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
    )


def _embed(c_in: int, c_out: int) -> nn.Sequential:
    """Two linear layers around a ReLU, shaped to multiply or add to feature maps."""
    return nn.Sequential(
        nn.Linear(c_in, c_out), nn.ReLU(), nn.Linear(c_out, c_out), nn.Unflatten(1, (c_out, 1, 1))
    )


@settings
class ReportConfig:
    """Feature width F, and T, by which the time is divided."""

    width: Width = 128
    n_steps: Annotated[int, Field(ge=1, le=10_000)] = 1000


class ReportUNet(nn.Module):
    """The report's network: width F = 128, plain convolutions, ReLU, `label * x + time` going up.

    The time enters as one number t / T, the label as a one-hot vector (all zeros for null); both
    act in the upsampling path only.
    """

    def __init__(self, config: ReportConfig | None = None):
        super().__init__()
        self.config = config or ReportConfig()
        f = self.config.width
        self.first = _double(3, f)
        self.down1 = nn.Sequential(_double(f, f), nn.MaxPool2d(2))
        self.down2 = nn.Sequential(_double(f, 2 * f), nn.MaxPool2d(2))
        self.to_vector = nn.Sequential(nn.AvgPool2d(7), nn.ReLU())
        self.up0 = nn.Sequential(
            nn.ConvTranspose2d(2 * f, 2 * f, 7, 7), nn.GroupNorm(8, 2 * f), nn.ReLU()
        )
        self.time1, self.label1 = _embed(1, 2 * f), _embed(10, 2 * f)
        self.up1 = nn.Sequential(nn.ConvTranspose2d(4 * f, f, 2, 2), _double(f, f), _double(f, f))
        self.time2, self.label2 = _embed(1, f), _embed(10, f)
        self.up2 = nn.Sequential(nn.ConvTranspose2d(2 * f, f, 2, 2), _double(f, f), _double(f, f))
        self.out = nn.Sequential(
            nn.Conv2d(2 * f, f, 3, padding=1),
            nn.GroupNorm(8, f),
            nn.ReLU(),
            nn.Conv2d(f, 3, 3, padding=1),
        )

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        time = (t.float() / self.config.n_steps)[:, None]  # (B, 1)
        one_hot = F.one_hot(label, NULL_LABEL + 1)[:, :NULL_LABEL].float()  # null: zeros
        x28 = self.first(x)  # (B, F, 28, 28)
        x14 = self.down1(x28)  # (B, F, 14, 14)
        x7 = self.down2(x14)  # (B, 2F, 7, 7)
        up = self.up0(self.to_vector(x7))  # (B, 2F, 7, 7)
        up = self.label1(one_hot) * up + self.time1(time)
        up = self.up1(torch.cat([up, x7], dim=1))  # (B, F, 14, 14)
        up = self.label2(one_hot) * up + self.time2(time)
        up = self.up2(torch.cat([up, x14], dim=1))  # (B, F, 28, 28)
        return self.out(torch.cat([up, x28], dim=1))


def make_digit_unet(config: DigitConfig | ReportConfig) -> DigitUNet | ReportUNet:
    """The network of a configuration."""
    return ReportUNet(config) if isinstance(config, ReportConfig) else DigitUNet(config)
