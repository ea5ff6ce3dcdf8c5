"""Which parameters learn, by which optimiser and at what rate; the running mean of the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from streamcodec_models.vae import VoiceVae

from .config import TrainingConfig
from .muon import Muon

ENCODER_PARTS = ("encoder_", "to_latent", "skip_in", "log_precision", "prior.", "waveform_prior.")
WARM_UP_STEPS = 200
LEAST_RATE_SHARE = 0.01
ADVERSARIAL_RATE_SHARE = 0.1


class ParameterGroups(NamedTuple):
    """What learns by Muon, by AdamW, by AdamW in small steps, and by AdamW in large ones."""

    matrices: list[Tensor]
    rest: list[Tensor]
    linear: list[Tensor]
    prior: list[Tensor]


@dataclasses.dataclass(frozen=True)
class Scheduled:
    """An optimiser and the rate that it has on the plateau."""

    optimizer: torch.optim.Optimizer
    rate: float


def split_parameters(model: VoiceVae) -> ParameterGroups:
    """Hidden matrices; heads, tables, taps, norms and biases; the linear path; the prior of the
    waveform layer, which prices and is not heard. Frozen parameters are left out.

    Muon moves every direction of a matrix as far as the strongest one. In the linear path the weak
    directions carry the waveform above 1 kHz and have a gradient at high rates only: Muon turned
    them into a random walk, which is why that path has small steps of AdamW.
    """
    groups = ParameterGroups([], [], [], [])
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("skip_"):
            groups.linear.append(parameter)
            continue
        if name.startswith(("waveform_prior.", "waveform.refinement.")):
            groups.prior.append(parameter)
            continue
        hidden = parameter.ndim == 2 and min(parameter.shape) > 8
        hidden = hidden and not name.startswith(("prior.", "log_precision", "to_latent", "head"))
        (groups.matrices if hidden else groups.rest).append(parameter)
    return groups


def make_optimisers(model: VoiceVae, config: TrainingConfig) -> list[Scheduled]:
    """In the order in which checkpoints hold their states."""
    groups = split_parameters(model)
    share = ADVERSARIAL_RATE_SHARE if config.adversarial else 1.0
    made = [Scheduled(Muon(groups.matrices, lr=config.matrix_rate), config.matrix_rate * share)]
    for parameters, rate in (
        (groups.rest, config.vector_rate),
        (groups.linear, config.linear_rate),
        (groups.prior, config.prior_rate),
    ):
        if parameters:  # those of frozen parts are none
            made.append(Scheduled(_adamw(parameters, rate), rate * share))
    return made


def learning_rate_share(done: float, step: int, decay_from: float) -> float:
    """Share of the plateau's rate: a linear warm-up, a plateau until the share `decay_from` of the
    run is done, then a straight line to 1 %. A longer run would branch off the plateau.
    """
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm_up * max(LEAST_RATE_SHARE, min(1.0, (1 - done) / (1 - decay_from)))


def freeze_encoder(model: VoiceVae) -> None:
    """Only the decoder goes on learning: the bits of a stream stay as they are."""
    for name, parameter in model.named_parameters():
        if name.startswith(ENCODER_PARTS):
            parameter.requires_grad_(False)


def running_mean(
    decay: float,
) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """The averaging function for torch's AveragedModel. In a run's first steps the mean reaches
    back over a tenth of them, so that it does not hold on to the initial weights.
    """

    @torch.no_grad()
    def update(mean: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for average, newest in zip(mean, current, strict=True):
            average.lerp_(newest, share)

    return update


def _adamw(parameters: list[Tensor], rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.85, 0.98), weight_decay=1e-3)
