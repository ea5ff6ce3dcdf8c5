"""What `connect` is asked for, checked."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from streamcodec.config import STEP_MS, STEPS_PER_PACKET, check_sample_rate, default_bitrate_bps
from streamcodec.errors import ConfigError
from streamcodec.live.adaptive import DelayBounds
from streamcodec.wire.redundancy import MAX_COPY_DISTANCE

from ..audio.voice_processing import VoiceSettings, missing
from ..live.codec import EncodingSettings
from ..live.member import check_label
from ..transport.opening import route_to

TEXT, WHOLE, SWITCH = (str, "text"), (int, "a whole number"), (bool, "True or False")
RATE = (int | float | None, "a number or None")
KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("url", "room", "name", "token"), TEXT),
    **dict.fromkeys(("talk", "listen", "capped", "dtx", "gain_control"), SWITCH),
    **dict.fromkeys(("sample_rate", "channels", "packet_ms", "take_copies"), WHOLE),
    "redundancy": (int | None, "a whole number or None"),
    **dict.fromkeys(("bitrate_bps", "quality"), RATE),
    "ca": (Path | None, "a path or None"),
    "timeout_s": (int | float, "a number of seconds"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoomSettings:
    """How to join a room, and what to say and hear there: what `connect` describes. Raises
    ConfigError for a setting outside its range.
    """

    url: str
    ca: Path | None
    room: str
    name: str
    token: str = dataclasses.field(repr=False)
    talk: bool
    listen: bool
    sample_rate: int
    channels: int
    bitrate_bps: float | None
    quality: float | None
    capped: bool
    packet_ms: int
    dtx: bool
    redundancy: int | None
    take_copies: int
    playout_ms: float | tuple[float, float]
    timeout_s: float
    microphone: bool | str = False
    loudspeaker: bool | str = False
    gain_control: bool = True

    def __post_init__(self) -> None:
        for name, (kinds, words) in KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
                raise ConfigError(f"{name} must be {words}, got {value!r}")
        if not 0 < self.timeout_s < math.inf:
            raise ConfigError(f"timeout_s must be above 0, got {self.timeout_s:g}")
        route_to(self.url, self.ca)
        check_sample_rate(self.sample_rate)
        check_label("room", self.room)
        check_label("name", self.name)
        if not (self.talk or self.listen):
            raise ConfigError("talk and listen are both False: who joins a room does one of them")
        if self.channels not in (1, 2):
            raise ConfigError(f"channels must be 1 or 2, got {self.channels}")
        durations = [STEP_MS * steps for steps in STEPS_PER_PACKET]
        if self.packet_ms not in durations:
            allowed = ", ".join(map(str, durations))
            raise ConfigError(f"packet_ms must be one of {allowed}, got {self.packet_ms}")
        for what, copies in (("redundancy", self.redundancy), ("take_copies", self.take_copies)):
            if copies is not None and not 0 <= copies <= MAX_COPY_DISTANCE:
                raise ConfigError(f"{what} must be 0 to {MAX_COPY_DISTANCE}, got {copies}")
        for what, device, needed in (
            ("microphone", self.microphone, "talk"),
            ("loudspeaker", self.loudspeaker, "listen"),
        ):
            if not isinstance(device, bool | str) or device == "":
                raise ConfigError(
                    f"{what} must be True for the default one, False for none, or an index or part "
                    f"of a name as text, got {device!r}"
                )
            if device and not getattr(self, needed):
                raise ConfigError(f"a {what} is of no use with {needed}=False")
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

    def voice(self, sample_rate: int) -> VoiceSettings | None:
        """What happens to the microphone's sound at the codec's rate (Hz); None: it stays as it
        is.
        """
        wanted = bool(self.microphone) and self.gain_control and missing(sample_rate) is None
        return VoiceSettings(gain_control=True) if wanted else None

    @property
    def encoding(self) -> EncodingSettings:
        rate = self.bitrate_bps
        if rate is None and self.quality is None:
            rate = default_bitrate_bps(self.channels)
        return EncodingSettings(
            bitrate_bps=rate,
            quality=self.quality,
            capped=self.capped,
            channels=self.channels,
            packet_ms=self.packet_ms,
            redundancy=self.redundancy,
        )
