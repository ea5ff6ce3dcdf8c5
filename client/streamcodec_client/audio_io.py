"""Where sound comes from and where it goes: two protocols and the functions that pick an implementation by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamcodec.errors import AudioError

from .clock import Clock

Pcm = NDArray[np.float32]
BLOCK_MS = 10  # unit of sources and sinks
OUTPUT_LEAD_MS = 30  # a sink holds at most this much: a block being played, and ahead of it as long as a decoder may take
SOURCE_LAG_LIMIT_MS = 200  # a reader further behind loses the oldest samples, as with a real device
DEFAULT_RATE = 16_000  # of raw PCM and of files written, where --rate says nothing
SOURCE_FORMS = "mic, tone, - (raw PCM, s16le, from standard input) or an audio file"
SINK_FORMS = "speaker, null, - (raw PCM, s16le, to standard output) or a .wav file"


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Samples as they were captured. A position beyond the end of the last block says how many were lost between the two, or how
    long there were none.
    """

    pcm: Pcm  # [T, C], full scale 1
    position: int  # of the first sample, counted from the start of the source
    captured_ns: int  # monotonic time at which the last sample was captured
    after_pause: bool = False  # there was nothing to capture before it


class Source(Protocol):
    """Used by one thread, which reads until `ended`."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def ended(self) -> bool:
        """The last block was read."""
        ...

    def start(self) -> None: ...

    def read(self, timeout_s: float) -> Block | None:
        """The next block, at the pace of the clock that it was captured by; None where the time was too short.

        A reader that falls SOURCE_LAG_LIMIT_MS behind loses the oldest samples. Raises AudioError when the device is gone.
        """
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Used by one thread, which writes a block whenever the sink wants one. What comes too late is replaced with silence."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def underruns(self) -> int:
        """Times that the sink had nothing to play."""
        ...

    def start(self) -> None: ...

    def wants_block(self, timeout_s: float) -> bool:
        """Waits until there is room for BLOCK_MS of audio; False where the time was too short. Raises AudioError."""
        ...

    def write(self, pcm: Pcm) -> int:
        """float32 [T, C] of about BLOCK_MS -> the monotonic time (ns) at which its first sample is heard. Raises AudioError."""
        ...

    def close(self) -> None: ...


def pick_source(
    spec: str, clock: Clock, *, device: str | None = None, rate: int | None = None, channels: int | None = None
) -> Source:
    """`spec` is one of SOURCE_FORMS. `rate` (Hz) and `channels` None: those of the file or the device, DEFAULT_RATE and mono for
    raw PCM and tones. Raises AudioError naming what was wrong.
    """
    if spec == "mic":
        from .sounddevice_io import MicrophoneSource

        return MicrophoneSource(clock, device, rate, channels or 1)
    if spec == "tone":
        from .paced_io import ToneSource

        return ToneSource(clock, rate or DEFAULT_RATE, channels or 1)
    if spec == "-":
        from .pipe_io import StdinSource

        return StdinSource(clock, rate or DEFAULT_RATE, channels or 1)
    if not Path(spec).is_file():
        raise AudioError(f"no source {spec!r}: give {SOURCE_FORMS}")
    from .file_io import FileSource

    return FileSource(clock, Path(spec))


def pick_sink(spec: str, clock: Clock, *, device: str | None = None, rate: int | None = None, channels: int | None = None) -> Sink:
    """`spec` is one of SINK_FORMS. `rate` (Hz) and `channels` None: the device's own, DEFAULT_RATE and mono elsewhere.
    Raises AudioError naming what was wrong.
    """
    if spec == "speaker":
        from .sounddevice_io import SpeakerSink

        return SpeakerSink(clock, device, rate, channels)
    if spec == "null":
        from .paced_io import NullSink

        return NullSink(clock, rate or DEFAULT_RATE, channels or 1)
    if spec == "-":
        from .pipe_io import StdoutSink

        return StdoutSink(clock, rate or DEFAULT_RATE, channels or 1)
    path = Path(spec)
    if path.suffix.lower() != ".wav":
        raise AudioError(f"no sink {spec!r}: give {SINK_FORMS}")
    from .file_io import WavSink

    return WavSink(clock, path, rate or DEFAULT_RATE, channels or 1)


def with_channels(pcm: Pcm, channels: int) -> Pcm:
    """[T, C] -> [T, channels]: the mean where there are fewer, copies where there are more."""
    if pcm.shape[1] == channels:
        return pcm
    mono: Pcm = pcm.mean(1, keepdims=True, dtype=np.float32)
    return mono if channels == 1 else np.repeat(mono, channels, 1)


def block_samples(sample_rate: int) -> int:
    return max(1, sample_rate * BLOCK_MS // 1000)
