"""The prior of the VAE: what a latent costs in bits while training, and the integer tables that it becomes at export.

Posterior q(y|x): uniform of width one around the encoder's mean. Prior p(y): logistic with a scale per quality, class and
dimension, convolved with that same uniform. So KL(q||p) = E[-log2 p(y)] is the number of bits the entropy coder spends (Balle
et al. 2017). A packet names one of `classes` scale tables, the one that codes it in the fewest bits; no packet needs another's
statistics.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .config import VaeConfig

GAIN_STEPS_PER_OCTAVE = 4  # 1.5 dB
GAIN_MIN = -52  # 2^-13: below it a packet counts as silent
GAIN_COUNT = 64
FREQUENCY_BITS = 16
SCALE_STEPS_PER_OCTAVE = 8
SCALE_OCTAVE_MIN, SCALE_OCTAVE_MAX = -6, 6
SYMBOL_LIMIT = 31  # latents beyond it are escaped
MASS_FLOOR = 1e-7
LEVEL_STRAYS = 0.3  # how much rarer each level is than the one before, counted from where its stream's rate lies
# Squared quantiser steps that a bit is worth. The slope of step^2 / 12 * 2^(-2 bits), what a fine uniform quantiser trades them
# at, would be 2 ln 2 / 12; most of our latents are nearly always zero, and half as much again is better (decision 0010).
BIT_WORTH = 3 * math.log(2) / 12


def logistic_mass(y: Tensor, scale: Tensor) -> Tensor:
    """Probability that a logistic variable of `scale` falls within 1/2 of y."""
    magnitude = y.abs()
    inverse = scale.reciprocal()
    upper = torch.sigmoid((0.5 - magnitude) * inverse)
    return (upper - torch.sigmoid((-0.5 - magnitude) * inverse)).clamp_min(MASS_FLOOR)


def latent_bits(y: Tensor, log_scale: Tensor) -> Tensor:
    """Bits [..., D] of latents y [..., D] under logistic scales exp(log_scale) [..., D]."""
    scale = torch.exp(log_scale).clamp(2.0**SCALE_OCTAVE_MIN, 2.0**SCALE_OCTAVE_MAX)
    return -torch.log2(logistic_mass(y, scale))


def interpolate(table: Tensor, quality: Tensor) -> Tensor:
    """table [K, ...] over evenly spaced knots, quality [B, P] in 0..1 -> [B, P, ...]."""
    position = quality.clamp(0, 1) * (len(table) - 1)
    lower = position.floor().clamp(max=len(table) - 2)
    weight = (position - lower).reshape(*position.shape, *[1] * (table.ndim - 1))
    index = lower.long()
    return table[index] * (1 - weight) + table[index + 1] * weight


@dataclasses.dataclass(frozen=True)
class EntropyTables:
    """Everything that decides a code word, in integers: a decoder never derives one from a float.

    level_scale [levels, D] and class_scale [classes, D] add up to a row of `frequencies` [scales, 2 * SYMBOL_LIMIT + 2], whose
    columns are the symbols -SYMBOL_LIMIT..SYMBOL_LIMIT and the escape. level_frequencies [levels, levels] are those of a packet's
    level in a stream of the row's base level. class_frequencies [levels, classes + 1]: the last column is silence, a packet
    without gain and latents. gain_frequencies [classes, GAIN_COUNT - 1], of the gains above silence. Every row adds up to
    2^FREQUENCY_BITS and holds no zero.
    """

    level_frequencies: NDArray[np.int32]

    level_scale: NDArray[np.int32]
    class_scale: NDArray[np.int32]
    frequencies: NDArray[np.int32]
    class_frequencies: NDArray[np.int32]
    gain_frequencies: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name in ("level_frequencies", "frequencies", "class_frequencies", "gain_frequencies"):
            rows = getattr(self, name)
            if rows.min() < 1 or np.any(rows.sum(1) != 1 << FREQUENCY_BITS):
                raise ValueError(f"entropy table {name}: rows must hold positive counts that add up to {1 << FREQUENCY_BITS}")

    def scale_rows(self, level: int, class_index: int) -> NDArray[np.int32]:
        """[D] rows of `frequencies` for one packet."""
        rows: NDArray[np.int32] = np.clip(self.level_scale[level] + self.class_scale[class_index], 0, len(self.frequencies) - 1)
        return rows


def integer_frequencies(mass: NDArray[np.float64]) -> NDArray[np.int32]:
    """mass [R, S] -> counts of at least one that add up to 2^FREQUENCY_BITS in each row."""
    total = 1 << FREQUENCY_BITS
    share = mass / mass.sum(1, keepdims=True)
    counts = np.maximum(1, np.floor(share * (total - mass.shape[1]))).astype(np.int32)
    counts[np.arange(len(counts)), share.argmax(1)] += (total - counts.sum(1)).astype(np.int32)
    result: NDArray[np.int32] = counts
    return result


def level_frequencies(levels: int) -> NDArray[np.int32]:
    """[base level, level]: a stream whose rate lies between two levels alternates between its base level and the one above, and
    strays from them the less, the farther.
    """
    above = np.arange(levels) - np.arange(levels)[:, None]
    return integer_frequencies(LEVEL_STRAYS ** np.maximum(above - 1.0, -above))


class Prior(nn.Module):
    """Learned logistic prior. Shapes: B batch, P packets, D latent."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        knots, latent, classes = config.quality_knots, config.latent_dim, config.classes
        self.levels = config.quality_levels
        self.log_scale = nn.Parameter(torch.zeros(knots, latent))
        self.class_log_scale = nn.Parameter(0.3 * torch.randn(classes, latent))
        self.class_logit = nn.Parameter(torch.zeros(knots, classes))
        self.gain_logit = nn.Parameter(-0.5 * ((torch.arange(GAIN_COUNT) + GAIN_MIN + 20) / 8) ** 2)

    def choose(self, y: Tensor, quality: Tensor) -> Tensor:
        """y [B, P, D], quality [B, P] in 0..1 -> the class [B, P] that codes each packet in the fewest bits."""
        with torch.no_grad():  # the choice has no gradient: only the chosen table is priced with one
            log_scale = interpolate(self.log_scale, quality)[..., None, :] + self.class_log_scale
            return (latent_bits(y[..., None, :], log_scale).sum(-1) + self._class_bits(quality)).argmin(-1)

    def bits(self, y: Tensor, gain_index: Tensor, quality: Tensor, chosen: Tensor) -> Tensor:
        """y [B, P, D], gain_index, quality in 0..1 and class [B, P] -> bits [B, P] without the level's own."""
        latents = latent_bits(y, interpolate(self.log_scale, quality) + self.class_log_scale[chosen]).sum(-1)
        class_bits = self._class_bits(quality).gather(-1, chosen[..., None])[..., 0]
        gain_bits = -torch.log_softmax(self.gain_logit, 0)[gain_index.long() - GAIN_MIN] / math.log(2)
        return latents + class_bits + gain_bits

    def quantise(self, mean: Tensor, quality: Tensor, chosen: Tensor) -> Tensor:
        """mean [B, P, D] -> integers [B, P, D] by error and bits, as the bitstream rounds; gradients pass straight through."""
        with torch.no_grad():
            log_scale = interpolate(self.log_scale, quality) + self.class_log_scale[chosen]
            choices = torch.stack([torch.round(mean), torch.trunc(mean), torch.zeros_like(mean)])
            loss = (choices - mean).square() + BIT_WORTH * latent_bits(choices, log_scale)
            integers = choices.gather(0, loss.argmin(0)[None])[0]
        return mean + (integers - mean).detach()

    def _class_bits(self, quality: Tensor) -> Tensor:
        return -torch.log_softmax(interpolate(self.class_logit, quality), -1) / math.log(2)

    @torch.no_grad()
    def tables(self) -> EntropyTables:
        """The integer form. Run once, at export: its result is what ships."""
        quality = torch.linspace(0, 1, self.levels)[None]
        octaves = [interpolate(self.log_scale.double(), quality)[0], self.class_log_scale.double()]
        level, cls = (np.round(t.numpy() / math.log(2) * SCALE_STEPS_PER_OCTAVE).astype(np.int32) for t in octaves)
        rows = (SCALE_OCTAVE_MAX - SCALE_OCTAVE_MIN) * SCALE_STEPS_PER_OCTAVE + 1
        scale = 2.0 ** (torch.arange(rows, dtype=torch.float64) / SCALE_STEPS_PER_OCTAVE + SCALE_OCTAVE_MIN)
        symbols = torch.arange(-SYMBOL_LIMIT, SYMBOL_LIMIT + 1, dtype=torch.float64)
        inside = logistic_mass(symbols, scale[:, None])
        escape = 2 * torch.sigmoid(-(SYMBOL_LIMIT + 0.5) / scale)
        class_mass = torch.softmax(interpolate(self.class_logit.double(), quality)[0], -1)
        gain_mass = torch.softmax(self.gain_logit.double(), 0)
        silent = gain_mass[0].expand(self.levels, 1)
        return EntropyTables(
            level_frequencies=level_frequencies(self.levels),
            level_scale=level - SCALE_OCTAVE_MIN * SCALE_STEPS_PER_OCTAVE,
            class_scale=cls,
            frequencies=integer_frequencies(torch.cat([inside, escape[:, None]], 1).numpy()),
            class_frequencies=integer_frequencies(torch.cat([class_mass * (1 - silent), silent], 1).numpy()),
            gain_frequencies=integer_frequencies(gain_mass[1:].expand(len(cls), -1).numpy()),
        )
