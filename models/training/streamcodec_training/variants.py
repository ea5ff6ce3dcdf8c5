"""Designs that were weighed against the one that ships, for `ablations` alone. Each is VoiceVae
with one part exchanged.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from streamcodec.tables import GAIN_STEPS_PER_OCTAVE
from streamcodec_models.blocks import BlockStack
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae

SPEECH_LEVEL = 0.05  # root mean square of what the corpus holds while somebody speaks


class RecurrentBlock(nn.Module):
    """Residual GRU (Cho et al. 2014) with as many products a step as a ConvNeXt block of expansion
    3: six by the width squared.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.scale = nn.Parameter(torch.full((dim,), 0.2))

    def initial_state(self, batch: int) -> Tensor:
        return self.scale.new_zeros(batch, len(self.scale))

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, F, C], state [B, C] -> the same shapes."""
        with torch.autocast(x.device.type, enabled=False):
            y, after = self.gru(self.norm(x.float()), state[None].contiguous())
        return x + self.scale * y, after[0]


class RecurrentVae(VoiceVae):
    """GRUs in place of the convolutions at the packet rate, in encoder and decoder."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__(config)
        self.encoder_packets = BlockStack(
            RecurrentBlock(config.encoder_dim) for _ in range(config.encoder_blocks[1])
        )
        self.decoder_packets = BlockStack(
            RecurrentBlock(config.decoder_dim) for _ in range(config.decoder_blocks[0])
        )


class UnsplitVae(VoiceVae):
    """No gain beside the shape: every packet is divided by one and the same level."""

    def gain_index(self, lapped: Tensor) -> Tensor:
        return torch.full_like(
            lapped[..., 0], round(GAIN_STEPS_PER_OCTAVE * math.log2(SPEECH_LEVEL))
        )


class LinearHeadVae(VoiceVae):
    """The head gives samples, without magnitude, phase and noise."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__(config)
        self.head = nn.Linear(config.decoder_dim, config.frame)
        with torch.no_grad():
            self.head.weight.mul_(0.05)  # starts quiet, as the other does
            self.head.bias.zero_()

    def synthesis_frames(self, hidden: Tensor, noise_position: Tensor) -> Tensor:
        frames: Tensor = self.head(hidden).float()
        return torch.stack([frames, torch.zeros_like(frames)])
