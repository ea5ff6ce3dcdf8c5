"""Limits that hold everywhere, and the settings besides the weights that both ends of a stream must
share.
"""

from __future__ import annotations

import dataclasses
import numbers
import operator

from .errors import ConfigError

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 384_000  # Hz, of PCM that callers hand in or take out
MAX_CHANNELS = 2
# Far above what any bit rate needs, and small enough for a single Ethernet frame.
MAX_PAYLOAD_BYTES = 1_200
MAX_LEVEL = 255  # of any model's quality levels
STEP_MS = 20  # audio that one step of the network takes
STEPS_PER_PACKET = (1, 2, 3)
# Where nobody asks for a rate. The wire takes 25 kbit/s besides: 9 in place of 6 make a tenth more
# of it. With the waveform layer 12 sound better still, for three times the work of an encoder and a
# page's second download.
DEFAULT_BITRATE_BPS = 9_000.0
# Of two channels, which are then about as good as one is: from 1.05 to 2 times its bits.
DEFAULT_STEREO_BITRATE_BPS = 14_000.0
HIGH_BAND_BYTES = 2  # that describe it, for each step of each channel


def whole_number(name: str, value: int) -> int:
    """`value` of any type of integers -> an int, which JSON takes. Raises ConfigError for other
    types.
    """
    try:
        return int(operator.index(value))
    except TypeError:
        raise ConfigError(f"{name} must be a whole number, got {value!r}") from None


def check_number(name: str, value: float) -> None:
    """Raises ConfigError for what is no number, as text is none."""
    if not isinstance(value, numbers.Real):
        raise ConfigError(f"{name} must be a number, got {value!r}")


def check_sample_rate(rate: int) -> int:
    """`rate` in Hz, of any type of integers -> an int. Raises ConfigError for other types, and
    outside MIN_SAMPLE_RATE to MAX_SAMPLE_RATE.
    """
    rate = whole_number("sample rate", rate)
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise ConfigError(
            f"sample rate must be {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, got {rate}"
        )
    return rate


def default_bitrate_bps(channels: int) -> float:
    """Of a stream for which nobody asks for a rate."""
    return DEFAULT_BITRATE_BPS if channels == 1 else DEFAULT_STEREO_BITRATE_BPS


def packet_sizes(step_samples: int) -> tuple[int, ...]:
    """Samples of each channel that a payload may hold, ascending."""
    return tuple(step_samples * steps for steps in STEPS_PER_PACKET)


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """Frame sizes of a stream, in samples of each channel at `sample_rate` (Hz), the rate of the
    PCM that goes in or comes out. `step_samples`: of one step of the network. `packet_samples`: of
    one payload, which holds one step or several. `base_level`: the quality level that payloads are
    parsed with; payloads of levels near it are the smallest. `widening`: how many times the rate of
    the model's core the sample rate is; 1 without the high band. `high_band`: payloads end with its
    description; whoever works at the core's rate passes it over. `joint`: the second channel of two
    is told by the first. Raises ConfigError.
    """

    sample_rate: int
    step_samples: int
    overlap: int
    packet_samples: int
    channels: int = 1
    base_level: int = 0
    widening: int = 1
    high_band: bool = False
    joint: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ConfigError(f"channels must be 1 to {MAX_CHANNELS}, got {self.channels}")
        if self.joint and self.channels != 2:
            raise ConfigError(f"joint stereo needs 2 channels, got {self.channels}")
        allowed = packet_sizes(self.step_samples)
        if self.packet_samples not in allowed:
            raise ConfigError(
                f"packet_samples must be one of {', '.join(map(str, allowed))}, "
                f"got {self.packet_samples}"
            )

    @property
    def steps(self) -> int:
        """How many steps of the network one payload holds."""
        return self.packet_samples // self.step_samples

    @property
    def wire_sample_rate(self) -> int:
        """Hz, the core's: of times and lengths of a stream on the wire and in files, whichever
        rates its two ends work at.
        """
        return self.sample_rate // self.widening

    @property
    def wire_packet_samples(self) -> int:
        """As `packet_samples`, at `wire_sample_rate`."""
        return self.packet_samples // self.widening

    @property
    def description_bytes(self) -> int:
        """Of the high band, at the end of each payload; at most, in joint stereo."""
        return HIGH_BAND_BYTES * self.steps * self.channels if self.high_band else 0

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
