"""What `connect` is asked for, checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from streamcodec.config import LATENT_MS, LATENTS_PER_PAYLOAD, check_sample_rate
from streamcodec.errors import ConfigError
from streamcodec.live.adaptive import DelayBounds
from streamcodec.wire.redundancy import MAX_COPIES

from ..live.codec import EncodingSettings
from ..live.member import check_label
from ..transport.opening import route_to

DEFAULT_BITRATE_BPS = 6_000.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoomSettings:
    """How to join a room, and what to say and hear there: what `connect` describes. Raises
    ConfigError for a setting outside its range.
    """

    url: str
    ca: Path | None
    room: str
    name: str
    talk: bool
    listen: bool
    sample_rate: int
    channels: int
    bitrate_bps: float | None
    quality: float | None
    capped: bool
    packet_ms: int
    dtx: bool
    redundancy: int
    take_copies: int
    playout_ms: float | tuple[float, float]
    timeout_s: float

    def __post_init__(self) -> None:
        route_to(self.url, self.ca)
        if not isinstance(self.sample_rate, int):
            raise ConfigError(f"sample_rate must be a whole number of Hz, got {self.sample_rate!r}")
        check_sample_rate(self.sample_rate)
        check_label("room", self.room)
        check_label("name", self.name)
        if not (self.talk or self.listen):
            raise ConfigError("talk and listen are both False: who joins a room does one of them")
        if self.channels not in (1, 2):
            raise ConfigError(f"channels must be 1 or 2, got {self.channels}")
        durations = [LATENT_MS * latents for latents in LATENTS_PER_PAYLOAD]
        if self.packet_ms not in durations:
            allowed = ", ".join(map(str, durations))
            raise ConfigError(f"packet_ms must be one of {allowed}, got {self.packet_ms}")
        for what, copies in (("redundancy", self.redundancy), ("take_copies", self.take_copies)):
            if not 0 <= copies <= MAX_COPIES:
                raise ConfigError(f"{what} must be 0 to {MAX_COPIES}, got {copies}")
        _ = self.playout

    @property
    def playout(self) -> float | DelayBounds:
        """As Receiver takes it. Raises ConfigError for bounds outside their range."""
        match self.playout_ms:
            case int() | float() as delay:
                return float(delay)
            case (int() | float() as least, int() | float() as longest):
                return DelayBounds(least, longest)
        raise ConfigError(f"playout_ms must be one number or two, got {self.playout_ms!r}")

    @property
    def encoding(self) -> EncodingSettings:
        rate = self.bitrate_bps
        return EncodingSettings(
            bitrate_bps=DEFAULT_BITRATE_BPS if rate is None and self.quality is None else rate,
            quality=self.quality,
            capped=self.capped,
            channels=self.channels,
            packet_ms=self.packet_ms,
            redundancy=self.redundancy,
        )
