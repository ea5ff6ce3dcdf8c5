"""Shape of the network: everything that must be known to build one before weights are loaded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class VaeConfig:
    """Geometry and widths of the VAE. Lengths are in samples at `sample_rate` (Hz)."""

    sample_rate: int = 16_000
    hop: int = 160
    overlap: int = 80
    frames_per_packet: int = 2
    analysis_window: int = 512
    encoder_dim: int = 192
    decoder_dim: int = 256
    latent_dim: int = 192
    kernel: int = 5
    expansion: int = 3
    encoder_blocks: tuple[int, int] = (2, 3)  # at the frame rate, at the packet rate
    decoder_blocks: tuple[int, int] = (3, 4)  # at the packet rate, at the frame rate
    quality_knots: int = 8  # trained points on the rate axis; between them tables are interpolated
    base_levels: int = 12  # quality levels, without the waveform layer, that a payload can name
    highest_base: float = 11 / 15  # quality of the last of them
    waveform_levels: int = 12  # and those with it
    waveform_knots: int = 4
    # quality of the base below the layer, at the lowest and the highest level
    waveform_base: tuple[float, float] = (7 / 15, 10 / 15)
    waveform_bins: int = 80  # coefficients of a frame that the layer can code
    narrow_bins: int = 40  # those that its lowest level codes
    coarsest_step: float = 5.5  # quantiser steps of the layer, of the lowest and the highest level
    finest_step: float = 0.486
    prior_dim: int = 384  # width of the network that prices the layer
    refine_dim: int = 96  # and of that which evens out what is heard of it
    classes: int = 32
    noise_frames: int = 251  # prime, so that the noise table never falls in step with the packets

    def __post_init__(self) -> None:
        if not 0 < self.overlap <= self.hop <= self.analysis_window:
            raise ValueError(
                "need 0 < overlap <= hop <= analysis_window, "
                f"got {self.overlap}, {self.hop}, {self.analysis_window}"
            )
        if self.latent_dim > self.packet + self.overlap:
            raise ValueError(
                f"latent_dim must be at most packet + overlap = {self.packet + self.overlap}, "
                f"got {self.latent_dim}"
            )
        for name in ("quality_knots", "base_levels", "waveform_knots", "waveform_levels"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        if not 0 < self.narrow_bins <= self.waveform_bins <= self.hop:
            raise ValueError(
                "need 0 < narrow_bins <= waveform_bins <= hop, "
                f"got {self.narrow_bins}, {self.waveform_bins}, {self.hop}"
            )

    @property
    def quality_levels(self) -> int:
        """What a payload can name."""
        return self.base_levels + self.waveform_levels

    @property
    def level_qualities(self) -> list[float]:
        """Position of each level on the quality axis: 0..1 without the waveform layer, above 1 with
        it. `quality - 1` of those is the position on the layer's own part, 0..1.
        """
        base = [self.highest_base * i / (self.base_levels - 1) for i in range(self.base_levels)]
        layer = [1 + i / (self.waveform_levels - 1) for i in range(self.waveform_levels)]
        return base + layer

    @property
    def packet(self) -> int:
        """Samples that one latent vector stands for."""
        return self.hop * self.frames_per_packet

    @property
    def frame(self) -> int:
        """Samples of one synthesis frame, overlap included."""
        return self.hop + self.overlap

    @property
    def bins(self) -> int:
        """Frequencies of one synthesis frame."""
        return self.frame // 2 + 1

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> VaeConfig:
        """Raises ValueError where a key is unknown, so that an old program never half-reads a new
        model.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(fields) - known):
            raise ValueError(f"unknown model configuration keys: {', '.join(unknown)}")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
        }
        return cls(**values)

    @classmethod
    def read(cls, path: Path) -> VaeConfig:
        return cls.from_dict(json.loads(path.read_text()))
