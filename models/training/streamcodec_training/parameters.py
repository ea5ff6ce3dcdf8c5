"""Which parameters learn, and by which optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from streamcodec_models.vae import VoiceVae

ENCODER_PARTS = ("encoder_", "to_latent", "skip_in", "log_precision", "prior.")


def split_parameters(model: VoiceVae) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """-> hidden matrices for Muon; heads, tables, taps, norms and biases for AdamW; the linear path
    for AdamW with small steps.

    Muon moves every direction of a matrix as far as the strongest: in the linear path, whose weak
    directions carry the waveform above 1 kHz and have a gradient at high rates only, that was a
    random walk which lost them.
    """
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    linear: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("skip_"):
            linear.append(parameter)
            continue
        hidden = parameter.ndim == 2 and min(parameter.shape) > 8
        hidden = hidden and not name.startswith(("prior.", "log_precision", "to_latent", "head"))
        (matrices if hidden else rest).append(parameter)
    return matrices, rest, linear


def adamw(parameters: list[Tensor], rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.85, 0.98), weight_decay=1e-3)


def freeze_encoder(model: VoiceVae) -> None:
    """What decides the bits stays as it is; the decoder learns."""
    for name, parameter in model.named_parameters():
        if name.startswith(ENCODER_PARTS):
            parameter.requires_grad_(False)


def running_mean(
    decay: float,
) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """What AveragedModel asks for. A young run has no past to speak of: at first the mean reaches
    back over a tenth of it.
    """

    @torch.no_grad()
    def update(mean: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for average, newest in zip(mean, current, strict=True):
            average.lerp_(newest, share)

    return update


def final_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """What a checkpoint has to give: the running mean of its run's weights, where it holds one."""
    weights: dict[str, Tensor] = checkpoint.get("average", checkpoint["model"])
    return weights
