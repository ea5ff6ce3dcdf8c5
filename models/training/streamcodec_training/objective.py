"""What training minimises: distortion plus the price of the bits, and two terms against artefacts
that the distortion forgives (docs/model.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from streamcodec_models.config import VaeConfig

from .config import TrainingConfig
from .losses import Buzz, Distortion, Repetition

# Windows judged in a step beside the one that always is: all STFTs cost as much as the network.
DRAWN_WINDOWS = 2


class Objective:
    """D + beta * R and the weighted buzz and repetition of a batch."""

    def __init__(self, config: TrainingConfig, shape: VaeConfig, device: torch.device) -> None:
        self.config = config
        self.shape = shape
        self.distortion = Distortion(
            shape.sample_rate, loudness_weight=config.loudness_weight, drawn=DRAWN_WINDOWS
        ).to(device)
        self.buzz = Buzz(shape.sample_rate, shape.packet).to(device)
        self.repetition = Repetition(shape.sample_rate, shape.packet).to(device)
        ends = [
            [config.beta_low, config.beta_high],
            [config.beta_waveform_low, config.beta_waveform_high],
        ]
        self.log_betas = torch.log(torch.tensor(ends, device=device))

    def compile(self) -> None:
        """Has torch.compile speed up the distortion."""
        term = torch.compile(self.distortion.term, dynamic=False)
        self.distortion.term = term  # type: ignore[method-assign]

    def cost(
        self, outputs: Tensor, wanted: Tensor, bits: Tensor, quality: Tensor, rate_share: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """outputs [draws, B, T] and wanted [B, T], aligned; bits [B, P]; quality [B] -> the loss, a
        scalar, and figures to log. `rate_share` of the price of bits is charged.
        """
        heard = outputs[0]
        distortion = self.distortion(outputs, wanted)
        rate_bps = bits.mean(1) * self.shape.sample_rate / self.shape.packet
        part = (quality >= 1).long()  # of the quality axis
        low, high = self.log_betas[part].unbind(1)
        beta = torch.exp(torch.lerp(low, high, quality - part))
        lagrangian = (distortion + rate_share * beta * rate_bps).mean()
        # Low qualities buzz more than high ones: judged together, the excess of the one half would
        # make up for the lack of the other.
        halves = quality.argsort().chunk(2)
        buzz = torch.stack([self.buzz(heard[half], wanted[half]) for half in halves]).mean()
        repetition = self.repetition(heard, wanted)
        loss = (
            lagrangian + self.config.buzz_weight * buzz + self.config.repetition_weight * repetition
        )
        return loss, {
            "lagrangian": lagrangian.detach(),
            "distortion": distortion.detach().mean(),
            "buzz": buzz.detach(),
            "repetition": repetition.detach(),
            "kbit/s": rate_bps.detach().mean() / 1e3,
        }
