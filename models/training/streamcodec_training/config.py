"""The settings of a run, each with a flag of `streamcodec train` of the same name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from streamcodec.errors import ConfigError

SHORTEST_SEGMENT_S = 0.2


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One run. Either `steps` or `minutes` ends it, counted over all its resumptions; the learning
    rates follow the share of it that is done. Raises ConfigError.
    """

    data: Path
    out: Path
    noise: Path | None = None
    sample: Path | None = None
    steps: int | None = None
    minutes: float | None = None
    batch: int = 12
    segment_s: float = 1.28
    seed: int = 0
    device: str = "auto"
    augment: bool = True
    matrix_rate: float = 1e-2
    vector_rate: float = 1e-3
    linear_rate: float = 1e-4
    prior_rate: float = 1e-3
    decay_from: float = 0.4
    average_decay: float = 0.999
    # At quality 0 and 1, as voice-16k was trained: a warm start from it keeps its quality axis.
    beta_low: float = 5.2e-4
    beta_high: float = 2.1e-6
    # And at both ends of the waveform layer's part of it.
    beta_waveform_low: float = 2e-5
    beta_waveform_high: float = 1.5e-6
    waveform_share: float = 0.5
    low_rates: float = 1.4
    rate_ramp_steps: int = 1_000
    draws: int = 1
    loudness_weight: float = 0.5
    buzz_weight: float = 0.05
    repetition_weight: float = 0.5
    warm_start: Path | None = None
    adversarial: bool = False
    compile: bool = False
    checkpoint_minutes: float = 10.0
    log_steps: int = 25

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ConfigError(
                "give either a number of steps or of minutes (--steps, --minutes), and not both"
            )
        if self.batch < 1 or self.segment_s < SHORTEST_SEGMENT_S:
            raise ConfigError(
                f"need a batch >= 1 and segments >= {SHORTEST_SEGMENT_S} s, "
                f"got {self.batch} and {self.segment_s}"
            )
        if self.draws not in (1, 2):
            raise ConfigError(f"need 1 or 2 draws of the noise, got {self.draws}")
        if not (0 <= self.decay_from < 1 and 0 <= self.average_decay < 1):
            raise ConfigError(
                "need decay_from and average_decay in 0..1, below 1, "
                f"got {self.decay_from} and {self.average_decay}"
            )
        if self.rate_ramp_steps < 1 or self.log_steps < 1:
            raise ConfigError(
                "need rate_ramp_steps and log_steps >= 1, "
                f"got {self.rate_ramp_steps} and {self.log_steps}"
            )
        if self.adversarial and self.warm_start is None:
            raise ConfigError(
                "need a trained model for the adversarial stage to start from; see warm_start"
            )
        for low, high in (("beta_low", "beta_high"), ("beta_waveform_low", "beta_waveform_high")):
            if not 0 < getattr(self, high) < getattr(self, low):
                raise ConfigError(
                    f"need 0 < {high} < {low}, got {getattr(self, high)} and {getattr(self, low)}"
                )
        if not 0 <= self.waveform_share <= 1:
            raise ConfigError(f"need waveform_share in 0..1, got {self.waveform_share}")
