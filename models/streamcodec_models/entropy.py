"""The prior of the VAE: what a latent costs in bits while training, and the integer tables that it
becomes at export.

Posterior q(y|x): uniform of width one around the encoder's mean. Prior p(y): logistic with a scale
per quality, class and dimension, convolved with that same uniform. So KL(q||p) = E[-log2 p(y)] is
the number of bits the entropy coder spends (Balle et al. 2017). A packet names one of `classes`
scale tables, the one that codes it in the fewest bits; no packet needs another's statistics.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from streamcodec.tables import (
    BIT_WORTH,
    GAIN_COUNT,
    GAIN_MIN,
    SCALE_OCTAVE_MAX,
    SCALE_OCTAVE_MIN,
    SCALE_STEPS_PER_OCTAVE,
    SYMBOL_LIMIT,
    EntropyTables,
    WaveformTables,
    integer_frequencies,
    level_frequencies,
)

from .config import VaeConfig
from .quality_axis import QualityTable

MASS_FLOOR = 1e-7


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


class Prior(nn.Module):
    """Learned logistic prior. Shapes: B batch, P packets, D latent."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        knots, latent, classes = config.quality_knots, config.latent_dim, config.classes
        self.config = config
        self.log_scale = QualityTable(config, torch.zeros(knots, latent))
        self.class_log_scale = nn.Parameter(0.3 * torch.randn(classes, latent))
        self.class_logit = QualityTable(config, torch.zeros(knots, classes))
        self.gain_logit = nn.Parameter(-0.5 * ((torch.arange(GAIN_COUNT) + GAIN_MIN + 20) / 8) ** 2)

    def choose(self, y: Tensor, quality: Tensor) -> Tensor:
        """y [B, P, D], quality [B, P] in 0..1 -> the class [B, P] that codes each packet in the
        fewest bits.
        """
        # the choice has no gradient: only the chosen table is priced with one
        with torch.no_grad():
            log_scale = self.log_scale(quality)[..., None, :] + self.class_log_scale
            return (
                latent_bits(y[..., None, :], log_scale).sum(-1) + self._class_bits(quality)
            ).argmin(-1)

    def bits(self, y: Tensor, gain_index: Tensor, quality: Tensor, chosen: Tensor) -> Tensor:
        """y [B, P, D], gain_index, quality in 0..1 and class [B, P] -> bits [B, P] without the
        level's own.
        """
        latents = latent_bits(y, self.log_scale(quality) + self.class_log_scale[chosen]).sum(-1)
        class_bits = self._class_bits(quality).gather(-1, chosen[..., None])[..., 0]
        gain_bits = -torch.log_softmax(self.gain_logit, 0)[gain_index.long() - GAIN_MIN] / math.log(
            2
        )
        return latents + class_bits + gain_bits

    def quantise(self, mean: Tensor, quality: Tensor, chosen: Tensor) -> Tensor:
        """mean [B, P, D] -> integers [B, P, D] by error and bits, as the bitstream rounds;
        gradients pass straight through.
        """
        with torch.no_grad():
            log_scale = self.log_scale(quality) + self.class_log_scale[chosen]
            choices = torch.stack([torch.round(mean), torch.trunc(mean), torch.zeros_like(mean)])
            loss = (choices - mean).square() + BIT_WORTH * latent_bits(choices, log_scale)
            integers = choices.gather(0, loss.argmin(0)[None])[0]
        return mean + (integers - mean).detach()

    def _class_bits(self, quality: Tensor) -> Tensor:
        return -torch.log_softmax(self.class_logit(quality), -1) / math.log(2)

    @torch.no_grad()
    def tables(self, waveform: WaveformTables) -> EntropyTables:
        """The integer form, with that of the waveform layer's prior. Run once, at export: its
        result is what ships.
        """
        levels = self.config.quality_levels
        quality = torch.tensor([self.config.level_qualities])
        octaves = [self.log_scale(quality)[0].double(), self.class_log_scale.double()]
        level, cls = (
            np.round(t.numpy() / math.log(2) * SCALE_STEPS_PER_OCTAVE).astype(np.int32)
            for t in octaves
        )
        rows = (SCALE_OCTAVE_MAX - SCALE_OCTAVE_MIN) * SCALE_STEPS_PER_OCTAVE + 1
        scale = 2.0 ** (
            torch.arange(rows, dtype=torch.float64) / SCALE_STEPS_PER_OCTAVE + SCALE_OCTAVE_MIN
        )
        symbols = torch.arange(-SYMBOL_LIMIT, SYMBOL_LIMIT + 1, dtype=torch.float64)
        inside = logistic_mass(symbols, scale[:, None])
        escape = 2 * torch.sigmoid(-(SYMBOL_LIMIT + 0.5) / scale)
        class_mass = torch.softmax(self.class_logit(quality)[0].double(), -1)
        gain_mass = torch.softmax(self.gain_logit.double(), 0)
        silent = gain_mass[0].expand(levels, 1)
        return EntropyTables(
            level_frequencies=level_frequencies(levels),
            level_scale=level - SCALE_OCTAVE_MIN * SCALE_STEPS_PER_OCTAVE,
            class_scale=cls,
            frequencies=integer_frequencies(torch.cat([inside, escape[:, None]], 1).numpy()),
            class_frequencies=integer_frequencies(
                torch.cat([class_mass * (1 - silent), silent], 1).numpy()
            ),
            gain_frequencies=integer_frequencies(gain_mass[1:].expand(len(cls), -1).numpy()),
            waveform=waveform,
        )
