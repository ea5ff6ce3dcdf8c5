"""What prices the waveform layer: quantiser steps and scales of its coefficients, told by the
integers that the packet holds already, so that they cost no bits and need no other packet.

A network of two hidden layers. Its weights are multiples of 2^-8 and its sums integers, so that
every machine computes the same tables (Balle et al., "Integer networks for data compression with
latent-variable models", ICLR 2019): `streamcodec.coding.waveform_prior` runs them. Steps follow the
network's own sound: nearly white noise in the coded band is what is heard least, 2 dB louder for
each 10 dB of sound.

Shapes: N packets, D latent, F frames of a packet, K bins. Logarithms are to base 2, of amplitudes
at unit gain.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamcodec.tables import (
    GAIN_MIN,
    LARGEST_PRIOR_BIAS,
    LARGEST_PRIOR_WEIGHT,
    LOUDNESS_COUNT,
    LOUDNESS_STEP,
    PRIOR_ACTIVATION_BITS,
    PRIOR_WEIGHT_BITS,
    SCALE_OCTAVE_MAX,
    SCALE_OCTAVE_MIN,
    SCALE_STEPS_PER_OCTAVE,
    STEP_BAND,
    STEP_FALL,
    SYMBOL_LIMIT,
    WaveformTables,
    integer_frequencies,
)

from .config import VaeConfig
from .quality_axis import base_quality, coded_bins

STEP_SHARE = 0.1  # of the octaves by which the sound of a band is louder
STEP_OCTAVES = -2.1  # of a step of 1 at unit gain and unit power of the band
LEAST_POWER = 1e-7
SMOOTHED_BINS = 7
MASS_FLOOR = 2.0**-20
RATE_WEIGHT = 0.17  # squared steps that a bit is worth
BASE_STEPS = 64  # in which the prior is told the quality of the base
USUAL_LOUDNESS = -16  # gain steps: -24 dB of full scale


class Prices(NamedTuple):
    """Of packets, [N, F, K] each."""

    log_scale: Tensor  # of the mean magnitude of what is coded
    log_step: Tensor  # of the quantiser, where the level's own step is 1


class WaveformPrior(nn.Module):
    """y [N, D] and the packet's gain against the talker's -> Prices."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.frames, self.bins = config.frames_per_packet, config.waveform_bins
        self.bands = -(-self.bins // STEP_BAND)
        width = config.prior_dim
        self.first = nn.Linear(config.latent_dim + 2, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, self.frames * self.bins + self.bands)
        with torch.no_grad():
            self.first.weight[:, -2:] /= 8  # inputs of many steps
            self.last.weight.mul_(0.1)
            self.last.bias.fill_(-4.0)
            self.last.bias[self.frames * self.bins :] = -0.6

    def forward(self, y: Tensor, rise: Tensor, base: Tensor) -> Prices:
        """y [N, D]; rise [N]: gain steps above the talker's loudness; base [N]: quality of the base
        below the layer, 0..1.
        """
        y = y.clamp(-LARGEST_PRIOR_WEIGHT, LARGEST_PRIOR_WEIGHT)
        inputs = torch.cat([y, rise[:, None], torch.round(BASE_STEPS * base)[:, None]], 1)
        h = F.relu(_product(inputs, self.first))
        h = F.relu(_product(h, self.second))
        out = _product(h, self.last)
        scale, band = out[:, : -self.bands], out[:, -self.bands :]
        log_step = STEP_OCTAVES + band - STEP_FALL * rise[:, None]
        return Prices(
            scale.reshape(-1, self.frames, self.bins),
            log_step.repeat_interleave(STEP_BAND, 1)[:, None, : self.bins].expand(
                -1, self.frames, -1
            ),
        )

    @torch.no_grad()
    def tables(self) -> WaveformTables:
        """The integer form. Run once, at export: its result is what ships."""
        c = self.config
        layers = (self.first, self.second, self.last)
        weights = [_integers(layer.weight, PRIOR_WEIGHT_BITS).numpy() for layer in layers]
        # inputs are whole numbers, hidden activations are not
        fractions = (PRIOR_WEIGHT_BITS, *[PRIOR_WEIGHT_BITS + PRIOR_ACTIVATION_BITS] * 2)
        biases = [
            torch.round(layer.bias.double() * 2**bits)
            .clamp(-LARGEST_PRIOR_BIAS, LARGEST_PRIOR_BIAS)
            .numpy()
            for layer, bits in zip(layers, fractions, strict=True)
        ]
        qualities = torch.tensor(c.level_qualities)
        positions = qualities - 1
        steps = STEP_OCTAVES + first_step(positions, c.coarsest_step, c.finest_step)
        bins = coded_bins(c, qualities)
        steps[: c.base_levels] = 0
        rows = (SCALE_OCTAVE_MAX - SCALE_OCTAVE_MIN) * SCALE_STEPS_PER_OCTAVE + 1
        log_scale = torch.arange(rows) / SCALE_STEPS_PER_OCTAVE + SCALE_OCTAVE_MIN
        symbols = torch.arange(-SYMBOL_LIMIT, SYMBOL_LIMIT + 1)
        mass = torch.exp2(-laplace_bits(symbols, log_scale[:, None]).double())
        escape = torch.exp(-(SYMBOL_LIMIT + 0.5) * torch.exp2(-log_scale.double()))
        loud = np.arange(LOUDNESS_COUNT) * LOUDNESS_STEP + GAIN_MIN - USUAL_LOUDNESS
        arrays = {
            "shape": [self.frames, self.bins],
            "level_base": torch.round(BASE_STEPS * base_quality(c, qualities)).numpy(),
            "level_step": torch.round(steps * SCALE_STEPS_PER_OCTAVE).numpy(),
            "level_bins": bins.numpy(),
            **{
                f"{name}_{kind}": values
                for kind, three in (("weight", weights), ("bias", biases))
                for name, values in zip(("first", "second", "last"), three, strict=True)
            },
        }
        return WaveformTables(
            **{name: np.asarray(values).astype(np.int32) for name, values in arrays.items()},
            frequencies=integer_frequencies(torch.cat([mass, escape[:, None]], 1).numpy()),
            coded_frequencies=integer_frequencies(np.tile([0.05, 0.95], (c.quality_levels, 1))),
            loudness_frequencies=integer_frequencies(np.exp(-0.5 * (loud[None] / 10) ** 2)),
        )

    def step_error(self, prices: Prices, rise: Tensor, base: Tensor) -> Tensor:
        """How far steps are from what they should be, for the network's coefficients base
        [N, F, K]: [N], to be minimised.
        """
        power = F.avg_pool1d(base.square(), SMOOTHED_BINS, 1, SMOOTHED_BINS // 2)
        power = F.avg_pool1d(power.mean(1, keepdim=True), STEP_BAND, STEP_BAND, ceil_mode=True)[
            :, 0
        ]
        wanted = STEP_SHARE * torch.log2(power + LEAST_POWER)
        wanted = wanted + STEP_OCTAVES - STEP_FALL * rise[:, None]
        return (prices.log_step[:, 0, ::STEP_BAND] - wanted).square().mean(1)


def _product(x: Tensor, layer: nn.Linear) -> Tensor:
    """x @ weight + bias with weights rounded as they ship; the gradient passes straight through."""
    weight = layer.weight
    rounded = _integers(weight.detach(), PRIOR_WEIGHT_BITS) / 2**PRIOR_WEIGHT_BITS
    return F.linear(x, weight + (rounded - weight).detach(), layer.bias)


def _integers(weight: Tensor, bits: int) -> Tensor:
    return torch.round(weight * 2**bits).clamp(-LARGEST_PRIOR_WEIGHT, LARGEST_PRIOR_WEIGHT)


def laplace_bits(q: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of values q, in steps, under Laplace distributions of mean magnitude 2^log_scale,
    gathered over a step around each.
    """
    inverse = torch.exp2(-log_scale.clamp(SCALE_OCTAVE_MIN, SCALE_OCTAVE_MAX))
    magnitude = q.abs()
    near, far = (magnitude - 0.5).abs() * inverse, (magnitude + 0.5) * inverse
    # around zero the step holds both sides of the peak
    mass = torch.where(
        magnitude < 0.5,
        1 - 0.5 * (torch.exp(-near) + torch.exp(-far)),
        0.5 * (torch.exp(-near) - torch.exp(-far)),
    )
    return -torch.log2(mass.clamp_min(MASS_FLOOR))


@torch.no_grad()
def quantise(z: Tensor, log_scale: Tensor) -> Tensor:
    """z, in steps -> integers by error and bits, as the bitstream rounds."""
    choices = torch.stack([torch.round(z), torch.trunc(z), torch.zeros_like(z)])
    loss = (choices - z).square() + RATE_WEIGHT * laplace_bits(choices, log_scale)
    return choices.gather(0, loss.argmin(0)[None])[0]


def first_step(layer: Tensor, coarsest: float, finest: float) -> Tensor:
    """log2 of the step at a position on the layer's part of the quality axis, 0..1."""
    return math.log2(coarsest) + layer * math.log2(finest / coarsest)
