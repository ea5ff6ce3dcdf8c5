"""What the decoder's noise swings with: the voice below it.

Breath and hiss come through the same glottis as the voice and swell with every pulse of it. A
frame's level of noise is too slow to say so and bits for it are not to be had, but the decoded
voice holds the pulses: where its own envelope stands above its mean, the noise does too. How far,
the network says. The power of the noise in a packet stays what the network meant it to be.

Shapes: B batch, T samples, P packets, F frames of the decoder's network, N blocks of BLOCK_S.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK_S = 0.000_5
SMOOTHED_BLOCKS = 4  # a pulse, and not the wave itself
LARGEST_DEPTH = 1.5
FAINTEST = 1e-4  # amplitude below which nothing swings
LEAST_POWER = 1e-2


class NoiseEnvelopeState(NamedTuple):
    """What the envelope remembers between packets."""

    levels: Tensor  # [B, SMOOTHED_BLOCKS - 1] mean amplitudes of the last blocks
    swell: Tensor  # [B] of the last block


class NoiseEnvelope(nn.Module):
    """swell = 1 + depth * (envelope of the voice / its mean over the packet - 1), at unit power;
    the depth is from the decoder's hidden frames.
    """

    ramp: Tensor

    def __init__(self, sample_rate: int, hop: int, frames_per_packet: int, dim: int) -> None:
        """`dim`: width of the hidden frames, one each `hop` samples."""
        super().__init__()
        self.block = round(BLOCK_S * sample_rate)
        if hop % self.block:
            raise ValueError(
                f"hop must be a multiple of {self.block} samples at {sample_rate} Hz, got {hop}"
            )
        self.blocks_per_frame = hop // self.block
        self.blocks_per_packet = self.blocks_per_frame * frames_per_packet
        self.register_buffer("ramp", (torch.arange(self.block) + 1) / self.block, persistent=False)
        self.depth = nn.Linear(dim, 1)
        with torch.no_grad():
            self.depth.weight.mul_(0.1)

    def initial_state(self, batch: int) -> NoiseEnvelopeState:
        return NoiseEnvelopeState(
            self.ramp.new_zeros(batch, SMOOTHED_BLOCKS - 1), self.ramp.new_ones(batch)
        )

    def step(
        self, voice: Tensor, hidden: Tensor, state: NoiseEnvelopeState
    ) -> tuple[Tensor, NoiseEnvelopeState]:
        """voice [B, T] and hidden [B, F, dim] with T = F * hop, whole packets -> factors for the
        noise [B, T], new state.
        """
        levels = torch.cat(
            [state.levels, voice.detach().abs().view(len(voice), -1, self.block).mean(-1)], 1
        )
        envelope = (
            F.avg_pool1d(levels[:, None], SMOOTHED_BLOCKS, 1).view(
                len(voice), -1, self.blocks_per_packet
            )
            + FAINTEST
        )
        depth = LARGEST_DEPTH * torch.sigmoid(self.depth(hidden).float()[..., 0]).repeat_interleave(
            self.blocks_per_frame, 1
        )
        swell = (
            1 + depth.view_as(envelope) * (envelope / envelope.mean(-1, keepdim=True) - 1)
        ).clamp_min(0)
        swell = (swell * (swell.square().mean(-1, keepdim=True) + LEAST_POWER).rsqrt()).flatten(1)
        before = torch.cat([state.swell[:, None], swell[:, :-1]], 1)
        factors = torch.lerp(before[..., None], swell[..., None], self.ramp)
        return factors.flatten(1), NoiseEnvelopeState(
            levels[:, 1 - SMOOTHED_BLOCKS :], swell[:, -1]
        )
