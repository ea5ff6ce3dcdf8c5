"""Causal building blocks. Shapes: B batch, F frames, C channels. `step` takes its past as a value
and hands the new one out.
"""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_FRAMES = 8


class CausalBlock(nn.Module):
    """ConvNeXt block whose depthwise convolution looks only at the past.

    Source: Liu et al. 2022 (ConvNeXt), Siuzdak 2023 (Vocos); here channels-last and causal. The
    depthwise part is a sum of shifted products: for kernels this short it needs no transposition
    and costs less than a grouped convolution, forward and backward.
    """

    def __init__(self, dim: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.context = kernel - 1
        self.taps = nn.Parameter(torch.empty(kernel, dim).uniform_(-1, 1) / math.sqrt(kernel))
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, expansion * dim)
        self.down = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.2))

    def initial_state(self, batch: int) -> Tensor:
        return self.taps.new_zeros(batch, self.context, self.taps.shape[1])

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, F, C], state [B, context, C] -> the same shapes; the old state stays valid."""
        frames = x.shape[1]
        past = torch.cat([state.to(x.dtype), x], 1)
        taps = self.taps.to(x.dtype)
        if frames <= FEW_FRAMES:  # live: what costs is the number of operations
            y = (past.unfold(1, self.context + 1, 1) * taps.T).sum(-1)
        else:
            y = past[:, self.context :] * taps[self.context]
            for i in range(self.context):
                y = y + past[:, i : i + frames] * taps[i]
        return x + self.scale * self.down(F.gelu(self.up(self.norm(y)))), past[:, frames:]


class Block(Protocol):
    """What a stack is made of."""

    def initial_state(self, batch: int) -> Tensor: ...

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]: ...


class BlockStack(nn.ModuleList):
    """Blocks in a row; their state is a tuple with one tensor a block."""

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        return tuple(block.initial_state(batch) for block in self._blocks())

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        after = []
        for block, before in zip(self._blocks(), state, strict=True):
            x, new = block.step(x, before)
            after.append(new)
        return x, tuple(after)

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self))


def sine_slopes(length: int, overlap: int) -> Tensor:
    """Trapezoid [length] whose sin^2 slopes add up to one over `overlap` samples of overlap-add."""
    rise = torch.sin(math.pi / 2 * (torch.arange(overlap) + 0.5) / overlap) ** 2
    window = torch.ones(length)
    window[:overlap], window[length - overlap :] = rise, rise.flip(0)
    return window


def analysis_slopes(length: int) -> Tensor:
    """Asymmetric window [length]: its weight lies late, because what is coded is the newest hop."""
    return torch.sin(math.pi * ((torch.arange(length) + 0.5) / length) ** 2.2)


def noise_spectra(noise: Tensor, frame: int, hop: int) -> Tensor:
    """noise [count * hop] that goes round -> spectra of its frames, real parts beside imaginary
    ones, of unit variance where the noise has it: [count, 2 * bins]. Frames of noises of their own
    would weaken each other where they overlap, which swings at their rate.
    """
    frames = torch.cat([noise, noise[: frame - hop]]).unfold(0, frame, hop)
    spectra = torch.fft.rfft(frames) / math.sqrt(frame / 2)
    return torch.cat([spectra.real, spectra.imag], 1)


def overlap_add(frames: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """frames [B, F, hop + overlap], tail [B, overlap] of the frame before -> samples [B, F * hop],
    new tail.
    """
    overlap = tail.shape[-1]
    hop = frames.shape[-1] - overlap
    ends = frames[..., hop:]
    carried = torch.cat([tail[:, None], ends[:, :-1]], 1)
    out = torch.cat([frames[..., :overlap] + carried, frames[..., overlap:hop]], -1)
    return out.flatten(1), ends[:, -1]
