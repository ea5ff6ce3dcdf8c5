"""Functions of a position on the quality axis: 0..1 without the waveform layer, 1..2 with it (see
`VaeConfig.level_qualities`). Shapes: B batch, P packets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamcodec.tables import STEP_BAND

from .config import VaeConfig


def base_quality(config: VaeConfig, quality: Tensor) -> Tensor:
    """Quality of the base there, 0..1."""
    low, high = config.waveform_base
    return torch.where(quality >= 1, low + (high - low) * (quality - 1), quality)


def layer_condition(quality: Tensor) -> Tensor:
    """What both networks are told of the waveform layer: 0 without it, else 0.25..1."""
    return torch.where(quality >= 1, 0.25 + 0.75 * (quality - 1), 0.0)


def coded_bins(config: VaeConfig, quality: Tensor) -> Tensor:
    """How many coefficients of a frame the waveform layer codes: more at higher levels, STEP_BAND
    at a time, none without the layer.
    """
    more = (quality - 1).clamp_min(0) * (config.waveform_bins - config.narrow_bins)
    bins = STEP_BAND * torch.round((config.narrow_bins + more) / STEP_BAND)
    return torch.where(quality >= 1, bins.clamp(max=config.waveform_bins), 0)


def interpolate(table: Tensor, quality: Tensor) -> Tensor:
    """table [K, ...] over evenly spaced knots, quality [B, P] in 0..1 -> [B, P, ...]."""
    position = quality.clamp(0, 1) * (len(table) - 1)
    lower = position.floor().clamp(max=len(table) - 2)
    weight = (position - lower).reshape(*position.shape, *[1] * (table.ndim - 1))
    index = lower.long()
    return table[index] * (1 - weight) + table[index + 1] * weight


class QualityTable(nn.Module):
    """A vector for each position on the quality axis (see `VaeConfig.level_qualities`): knots of
    the base, and with the waveform layer that of its base and knots of differences.
    """

    def __init__(self, config: VaeConfig, start: Tensor) -> None:
        """start [quality_knots, D]."""
        super().__init__()
        self.config = config
        self.base = nn.Parameter(start)
        self.waveform = nn.Parameter(start.new_zeros(config.waveform_knots, start.shape[1]))

    def forward(self, quality: Tensor) -> Tensor:
        """quality [B, P] -> [B, P, D]."""
        base = interpolate(self.base, base_quality(self.config, quality))
        return base + (quality >= 1)[..., None] * interpolate(self.waveform, quality - 1)
