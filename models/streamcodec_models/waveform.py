"""Waveform layer: what the network cannot say of a voice, coded coefficient by coefficient.

Above 8 kbit/s a packet also holds integers: coefficients of a lapped transform, below 3 or 4 kHz,
of the difference between the sound and a prediction, which is the network's own sound below 1 kHz
and nothing above. Where an integer is zero the network is heard, but no louder than a wave could
be that was rounded to zero; elsewhere the wave is. Both are then made louder or softer by a small
network (`Refinement`), which knows how loud a spectrum with such peaks and holes is to be.

The transform is an MDCT (Princen, Johnson and Bradley 1987) whose slopes overlap by less than a
hop. Its frames are those that the network speaks in, so the layer adds no delay. Of the last frame
of a packet the network's sound is not complete: the next packet's overlaps it. That frame is
therefore transformed twice: with the samples that the network expects, for what is heard at once
(and predicted from: encoder and decoder know the same); and with the real ones for its tail.

Shapes: B batch, P packets, F frames of one packet, K bins. Coefficients are at unit gain: divided
by the packet's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamcodec.tables import STEP_BAND

from .config import VaeConfig
from .quality_axis import interpolate

PREDICTED_HZ, UNPREDICTED_HZ = 750.0, 1_000.0  # where trust in the network's waves begins to fade
CEILING = 0.45  # quantiser steps
CEILING_KNOTS = 4
UNCODED = 1e6  # a step so large that nothing is louder: finite, so that gradients are
LEAST_LOUD, MOST_LOUD = 1e-4, 16.0  # quantiser steps: what the refinement tells apart
MOST_OCTAVES = 2.0  # by which it makes a coefficient louder or softer


class BaseSound(NamedTuple):
    """What the network says, before the layer."""

    x: Tensor  # [B, P * packet]
    ahead: Tensor  # [B, P, overlap] the samples behind each packet, as far as it knows them


class Waveform(NamedTuple):
    """What packets say of the layer. Those that hold none have zeros, and coded is false."""

    values: Tensor  # [B, P, F, K] integers times their steps
    steps: Tensor  # [B, P, F, K] of the quantiser; UNCODED where it codes nothing
    coded: Tensor  # [B, P] bool
    layer: Tensor  # [B, P] position on the layer's part of the quality axis, 0..1


class WaveformState(NamedTuple):
    """The last frame of the packet before, whose tail is yet to be heard."""

    body: Tensor  # [B, hop] the network's sound in it
    gain: Tensor  # [B] factor
    said: Tensor  # [B, K] coefficients where integers are not zero
    is_said: Tensor  # [B, K] bool
    steps: Tensor  # [B, K]
    ceiling: Tensor  # [B, K] in steps
    factor: Tensor  # [B, K] by which it is louder
    features: Tensor  # [B, features] what the refinement sees of it


class Refinement(nn.Module):
    """Factors of coefficients, from those of this frame and the frame before."""

    def __init__(self, bins: int, width: int) -> None:
        super().__init__()
        self.features = 2 * bins + -(-bins // STEP_BAND)
        self.first = nn.Linear(2 * self.features, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, bins)
        with torch.no_grad():  # begins as no change
            self.last.weight.zero_()
            self.last.bias.zero_()

    def describe(self, base: Tensor, mixed: Tensor, steps: Tensor) -> Tensor:
        """Coefficients of the network's sound, those that are heard, and steps, [..., K] ->
        [..., features].
        """
        coded = steps < UNCODED
        louds = [
            torch.where(coded, (x.abs() / steps).clamp(LEAST_LOUD, MOST_LOUD).sqrt(), 0)
            for x in (base, mixed)
        ]
        step = torch.where(coded, torch.log2(steps), 0)[..., ::STEP_BAND]
        return torch.cat([*louds, step], -1)

    def forward(self, features: Tensor) -> Tensor:
        """[B, 1 + N, features] of N frames behind the frame before them -> [B, N, K]."""
        h = F.relu(self.first(torch.cat([features[:, :-1], features[:, 1:]], -1)))
        h = F.relu(self.second(h))
        return torch.exp2(self.last(h).clamp(-MOST_OCTAVES, MOST_OCTAVES))


class WaveformLayer(nn.Module):
    """The layer's transform, its prediction, and what is heard where integers are zero."""

    basis: Tensor

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        c = self.config = config
        self.bins, self.frames = c.waveform_bins, c.frames_per_packet
        self.register_buffer("basis", mdct_basis(c.hop, c.overlap, self.bins), persistent=False)
        hz = (torch.arange(self.bins) + 0.5) * c.sample_rate / (2 * c.hop)
        trust = ((UNPREDICTED_HZ - hz) / (UNPREDICTED_HZ - PREDICTED_HZ)).clamp(0, 1)
        self.prediction = nn.Parameter(trust.repeat(self.frames, 1))
        self.ceiling = nn.Parameter(torch.full((CEILING_KNOTS, self.bins), math.log(CEILING)))
        self.refinement = Refinement(self.bins, c.refine_dim)

    def initial_state(self, batch: int) -> WaveformState:
        zeros = self.basis.new_zeros
        none = zeros(batch, self.bins)
        return WaveformState(
            zeros(batch, self.config.hop),
            zeros(batch),
            none,
            none.bool(),
            none + UNCODED,
            none,
            none + 1,
            zeros(batch, self.refinement.features),
        )

    def analyse(self, sound: Tensor, gain: Tensor) -> Tensor:
        """sound [B, overlap + P * packet], that of the packets behind what was heard before them,
        and factors gain [B, P] -> coefficients [B, P, F, K].
        """
        frames = sound.unfold(1, self.config.frame, self.config.hop)
        coefficients = frames @ self.basis.T
        return coefficients.view(*gain.shape, self.frames, self.bins) / gain[..., None, None]

    def base_coefficients(self, sound: BaseSound, gain: Tensor) -> Tensor:
        """Of the network's sound as it is known with each packet: [B, P, F, K]."""
        c, packets = self.config, sound.ahead.shape[1]
        x = torch.cat([sound.x.view(len(sound.x), packets, c.packet), sound.ahead], -1)
        frames = x.unfold(-1, c.frame, c.hop)
        result: Tensor = frames @ self.basis.T / gain[..., None, None]
        return result

    def step(
        self, sound: BaseSound, gain: Tensor, waveform: Waveform | None, state: WaveformState
    ) -> tuple[Tensor, WaveformState]:
        """The network's sound and the gains [B, P] of its packets, factors -> x [B, P * packet],
        new state.
        """
        c, (batch, packets) = self.config, gain.shape
        if waveform is None:
            waveform = self.nothing(batch, packets)
        base = self.base_coefficients(sound, gain)
        is_said = (waveform.values != 0) & waveform.coded[..., None, None]
        said = torch.where(is_said, self.prediction * base + waveform.values, 0)
        steps = torch.where(waveform.coded[..., None, None], waveform.steps, UNCODED)
        ceiling = torch.exp(interpolate(self.ceiling, waveform.layer))
        mixed = self._mixed(base, said, is_said, steps, ceiling[:, :, None])
        features = self.refinement.describe(base, mixed, steps)
        in_order = torch.cat([state.features[:, None], features.flatten(1, 2)], 1)
        factor = self.refinement(in_order).view(base.shape)
        factor = torch.where(steps < UNCODED, factor, 1)
        frames = (factor * mixed - base) @ self.basis
        frames = frames * gain[..., None, None]
        change = sound.x.new_zeros(batch, packets, c.packet)
        for f in range(self.frames - 1):
            change[..., f * c.hop : f * c.hop + c.frame] += frames[:, :, f]
        change[..., c.packet - c.hop :] += frames[:, :, -1, : c.hop]

        body = sound.x.view(batch, packets, c.packet)[..., c.packet - c.hop :]
        after = WaveformState(
            body[:, -1],
            gain[:, -1],
            said[:, -1, -1],
            is_said[:, -1, -1],
            steps[:, -1, -1],
            ceiling[:, -1],
            factor[:, -1, -1],
            features[:, -1, -1],
        )
        before = WaveformState(
            *(
                torch.cat([first[:, None], values[:, :-1]], 1)
                for first, values in zip(
                    state,
                    (
                        body,
                        gain,
                        said[:, :, -1],
                        is_said[:, :, -1],
                        steps[:, :, -1],
                        ceiling,
                        factor[:, :, -1],
                        features[:, :, -1],
                    ),
                    strict=True,
                )
            )
        )
        heads = sound.x.view(batch, packets, c.packet)[..., : c.overlap]
        real = torch.cat([before.body, heads], -1) @ self.basis.T
        loud = before.gain.clamp_min(1e-6)[..., None]
        base = real / loud
        mixed = self._mixed(base, before.said, before.is_said, before.steps, before.ceiling)
        tails = (before.factor * mixed - base) @ self.basis[:, c.hop :]
        change[..., : c.overlap] += tails * before.gain[..., None]
        return sound.x + change.flatten(1), after

    def nothing(self, batch: int, packets: int) -> Waveform:
        """Packets without the layer."""
        none = self.basis.new_zeros(batch, packets, self.frames, self.bins)
        flags = self.basis.new_zeros(batch, packets)
        return Waveform(none, none + UNCODED, flags.bool(), flags)

    def _mixed(
        self, base: Tensor, said: Tensor, is_said: Tensor, steps: Tensor, ceiling: Tensor
    ) -> Tensor:
        """What is heard, before its refinement, where the network's coefficients of frames are base
        [..., K].
        """
        prediction = self.prediction if base.ndim == 4 else self.prediction[-1]
        more, limit = base - prediction * base, ceiling * steps
        quieter = torch.minimum(torch.maximum(more, -limit), limit)
        # where nothing is quieter this is the base to the bit
        return torch.where(is_said, said, base + (quieter - more))


def mdct_basis(hop: int, overlap: int, bins: int) -> Tensor:
    """[bins, hop + overlap]: the lowest `bins` of `hop` orthonormal functions, with their slopes.
    Frame @ basis.T are its coefficients; coefficients @ basis, added where they overlap, its sound.
    """
    time = torch.arange(hop + overlap, dtype=torch.float64) + (hop - overlap) / 2
    order = torch.arange(bins, dtype=torch.float64)[:, None]
    waves = torch.cos(math.pi / hop * (time + 0.5 + hop / 2) * (order + 0.5))
    slopes = torch.ones(hop + overlap, dtype=torch.float64)
    rise = torch.sin(math.pi / 2 * (torch.arange(overlap, dtype=torch.float64) + 0.5) / overlap)
    slopes[:overlap], slopes[hop:] = rise, rise.flip(0)
    return (math.sqrt(2 / hop) * waves * slopes).float()
