"""Limits that hold everywhere, and the settings besides the weights that both ends of a stream must
share.
"""

from __future__ import annotations

import dataclasses

from .errors import ConfigError

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 384_000  # Hz, of PCM that callers hand in or take out
MAX_CHANNELS = 2
# Far above what any bit rate needs, and small enough for a single Ethernet frame.
MAX_PAYLOAD_BYTES = 1_200
MAX_LEVEL = 255  # of any model's quality levels
LATENTS_PER_PAYLOAD = (1, 2, 3)
LATENT_MS = 20  # audio that one latent stands for


def check_sample_rate(rate: int) -> None:
    """`rate` in Hz. Raises ConfigError outside MIN_SAMPLE_RATE to MAX_SAMPLE_RATE."""
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise ConfigError(
            f"sample rate must be {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, got {rate}"
        )


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """Frame sizes of a stream. `hop` and `overlap` are in samples at `sample_rate` (Hz), the rate
    that the model works at. `base_level`: the quality level that payloads are parsed with; payloads
    of levels near it are the smallest. Raises ConfigError.
    """

    sample_rate: int
    hop: int
    overlap: int
    frames_per_packet: int
    channels: int = 1
    latents_per_payload: int = 1
    base_level: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ConfigError(f"channels must be 1 to {MAX_CHANNELS}, got {self.channels}")
        if self.latents_per_payload not in LATENTS_PER_PAYLOAD:
            raise ConfigError(
                f"latents per payload must be one of {LATENTS_PER_PAYLOAD}, "
                f"got {self.latents_per_payload}"
            )

    @property
    def packet_samples(self) -> int:
        """Samples of each channel that one payload carries."""
        return self.hop * self.frames_per_packet * self.latents_per_payload

    @property
    def packet_ms(self) -> float:
        return 1000 * self.packet_samples / self.sample_rate

    @property
    def latency_samples(self) -> int:
        """Algorithmic delay: a sample waits until its packet is full, and then until the next
        synthesis frame, which overlaps it, has been added.
        """
        return self.packet_samples + self.overlap

    @property
    def latency_ms(self) -> float:
        return 1000 * self.latency_samples / self.sample_rate
