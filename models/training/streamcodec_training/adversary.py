"""The adversarial stage: small discriminators of spectrograms judge the decoder where a fixed
distortion is blind, above all by whether low rates still sound like a voice. Encoder and tables are
frozen, so that the stream's bits stay the same.

Source: multi-scale STFT discriminators (Defossez et al. 2022) with hinge loss and feature matching
(Kumar et al. 2019); strided and narrow, so that all of them cost less than a tenth of the codec on
a CPU.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from .losses import compressed, real_fft, unit_window

# Long windows see the stripes of a buzz at the frame rate, short ones its beats.
WINDOWS = (1024, 512, 256)
FILTERS = (12, 24, 32, 32)
SLOPE = 0.2
DISCRIMINATOR_RATE = 3e-4

Judged = tuple[Tensor, list[Tensor]]  # a score for each patch, and the features of each layer


class SpectrogramDiscriminator(nn.Module):
    """x [B, T] -> score of each patch [B, 1, bands, frames] and the features of each layer."""

    window: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.register_buffer("window", unit_window(length), persistent=False)
        widths = (2, *FILTERS)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 3), stride=(2, 2 if i < 2 else 1), padding=(2, 1)))
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Judged:
        hop = self.length // 4
        spectrum = real_fft(x.unfold(-1, self.length, hop) * self.window)
        h = compressed(spectrum, spectrum.square().sum(-1)).permute(0, 3, 2, 1)
        features = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
            features.append(h)
        return self.score(h), features


class Adversary(nn.Module):
    """All discriminators."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(SpectrogramDiscriminator(length) for length in WINDOWS)

    def forward(self, x: Tensor) -> list[Judged]:
        return [discriminator(x) for discriminator in self.discriminators]


def discriminator_loss(real: list[Judged], fake: list[Judged]) -> Tensor:
    """Hinge: real scores above 1, fake ones below -1, cost nothing."""
    losses = [
        F.relu(1 - r).mean() + F.relu(1 + f).mean()
        for (r, _), (f, _) in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def decoder_losses(real: list[Judged], fake: list[Judged]) -> tuple[Tensor, Tensor]:
    """-> what the decoder is to lower: minus its scores, and the distance of its features from
    those of the original, relative to their size.
    """
    adversarial = torch.stack([-f.mean() for f, _ in fake]).mean()
    matching = [
        (b - a.detach()).abs().mean() / a.detach().abs().mean().clamp_min(1e-3)
        for (_, r), (_, f) in zip(real, fake, strict=True)
        for a, b in zip(r, f, strict=True)
    ]
    return adversarial, torch.stack(matching).mean()


class AdversarialStage:
    """The discriminators, their optimiser, and what they add to the decoder's loss."""

    def __init__(
        self, device: torch.device, *, adversarial_weight: float = 0.1, matching_weight: float = 0.5
    ) -> None:
        self.adversary = Adversary().to(device)
        self._judge: nn.Module = self.adversary
        self._weights = adversarial_weight, matching_weight
        self.optimizer = torch.optim.AdamW(
            self.adversary.parameters(), DISCRIMINATOR_RATE, betas=(0.8, 0.99), weight_decay=1e-3
        )

    def distribute(self) -> None:
        """Averages the discriminators' gradients over all processes from here on."""
        self._judge = nn.parallel.DistributedDataParallel(self.adversary, broadcast_buffers=False)

    def judge(self, made: Tensor, wanted: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """made and wanted [B, T]: trains the discriminators to tell them apart -> the decoder's
        loss, a scalar, and figures to log.
        """
        halves = [_halves(judged) for judged in self._judge(torch.cat([wanted, made.detach()]))]
        loss = discriminator_loss([a for a, _ in halves], [b for _, b in halves])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.adversary.requires_grad_(False)
        with torch.no_grad():
            real = self.adversary(wanted)
        fake = self.adversary(made)
        self.adversary.requires_grad_(True)
        adversarial, matching = decoder_losses(real, fake)
        cost = self._weights[0] * adversarial + self._weights[1] * matching
        return cost, {
            "discriminator": loss.detach(),
            "adversarial": adversarial.detach(),
            "matching": matching.detach(),
        }


def _halves(judged: Judged) -> tuple[Judged, Judged]:
    """Splits what was judged of a batch of originals followed by as many reconstructions."""
    score, features = judged
    parts = [score.chunk(2), *(f.chunk(2) for f in features)]
    return (parts[0][0], [p[0] for p in parts[1:]]), (parts[0][1], [p[1] for p in parts[1:]])
