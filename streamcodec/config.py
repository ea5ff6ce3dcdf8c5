"""What both ends of a stream must agree on beside the weights."""

from __future__ import annotations

import dataclasses

from .errors import ConfigError

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 384_000  # Hz, of any PCM that comes in or goes out
MAX_CHANNELS = 2
# far above what any rate needs, and below what fits into one Ethernet frame
MAX_PAYLOAD_BYTES = 1_200
MAX_LEVEL = 255  # of any model's quality levels
LATENTS_PER_PAYLOAD = (1, 2, 3)


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """Geometry of a stream. Lengths are in samples at `sample_rate` (Hz), the rate that the model
    works at.
    """

    sample_rate: int
    hop: int
    overlap: int
    frames_per_packet: int
    channels: int = 1
    latents_per_payload: int = 1
    # quality level below the stream's rate: payloads are cheapest that keep near it
    base_level: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ConfigError(f"channels must be 1 to {MAX_CHANNELS}, got {self.channels}")
        if self.latents_per_payload not in LATENTS_PER_PAYLOAD:
            raise ConfigError(
                f"latents per payload must be one of {LATENTS_PER_PAYLOAD}, got {self.latents_per_payload}"
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
        """Algorithmic delay: a sample waits until its packet is full, and is whole once the
        synthesis frames around it have overlapped.
        """
        return self.packet_samples + self.overlap

    @property
    def latency_ms(self) -> float:
        return 1000 * self.latency_samples / self.sample_rate
