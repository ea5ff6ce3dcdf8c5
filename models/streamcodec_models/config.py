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
    quality_levels: int = 16  # what a payload can name
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
        if min(self.quality_knots, self.quality_levels) < 2:
            raise ValueError("quality_knots and quality_levels must be at least 2")

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
