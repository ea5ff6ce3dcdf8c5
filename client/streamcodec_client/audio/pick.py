"""Sources and sinks by their names on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamcodec.errors import AudioError

from ..clock import Clock
from .at_rate import DeviceSink, DeviceSource
from .blocks import AHEAD_MS, Sink, Source
from .devices import MicrophoneSource, SpeakerSink, check_device
from .files import WRITTEN_ENDINGS, AudioFile, check_format, file_writer
from .paced import Discard, PacedSink, PacedSource, Tone
from .pipes import PipeWriter, StdinSource
from .portaudio import LIBRARY
from .reopening import ReopeningSink, ReopeningSource

DEFAULT_RATE = 16_000  # of raw PCM and of files written, where --rate says nothing
LATE_THREAD_MS = 5.0  # by which a thread wakes late at times while the machine is busy
SOURCE_FORMS = "mic, tone, - (raw PCM, s16le, or WAV from standard input) or an audio file"
SINK_FORMS = (
    "speaker, null, - (raw PCM, s16le, to standard output) or a .wav, .flac, .ogg or .opus file"
)


def ahead_for(slowest_step_ms: float) -> float:
    """How much a sink holds, ms, where decoding a packet may take so long."""
    return LATE_THREAD_MS + slowest_step_ms


def microphone(
    clock: Clock,
    device: str | None,
    rate: int | None,
    channels: int,
    notify: Callable[[str], None],
) -> ReopeningSource:
    """As pick_source with "mic"."""

    def opens(name: str | None, sample_rate: int | None, /) -> DeviceSource:
        return MicrophoneSource(clock, name, sample_rate, channels)

    return ReopeningSource(clock, opens, device, rate, notify, LIBRARY.keep_fresh)


def loudspeaker(
    clock: Clock,
    device: str | None,
    rate: int | None,
    channels: int | None,
    ahead_ms: float,
    notify: Callable[[str], None],
) -> ReopeningSink:
    """As pick_sink with "speaker"."""

    def opens(name: str | None, sample_rate: int | None, /) -> DeviceSink:
        return SpeakerSink(clock, name, sample_rate, channels, ahead_ms)

    return ReopeningSink(clock, opens, device, rate, notify, LIBRARY.keep_fresh)


def pick_source(
    spec: str,
    clock: Clock,
    *,
    device: str | None = None,
    rate: int | None = None,
    channels: int | None = None,
    mono: bool = False,
    warn: Callable[[str], None] = lambda text: None,
    notify: Callable[[str], None] = lambda text: None,
) -> Source:
    """`spec` is one of SOURCE_FORMS. `rate` (Hz) and `channels` None: those of the file or the
    device, DEFAULT_RATE and mono for raw PCM and tones. `mono`: the file may have any number of
    channels, because they will be mixed. `warn` is told what is wrong with a file that can be
    read nevertheless, `notify`, in the reading thread, that a device has gone or is back. Raises
    AudioError naming what was wrong.
    """
    if spec == "mic":
        return microphone(clock, device, rate, channels or 1, notify)
    if spec == "tone":
        return PacedSource(clock, Tone(rate or DEFAULT_RATE, channels or 1))
    if spec == "-":
        return StdinSource(clock, rate or DEFAULT_RATE, channels or 1)
    if Path(spec).is_dir():
        raise AudioError(f"source {spec!r} is a folder: give {SOURCE_FORMS}")
    if not Path(spec).is_file():
        raise AudioError(f"no source {spec!r}: give {SOURCE_FORMS}")
    file = AudioFile(Path(spec), mono=mono)
    if file.warning is not None:
        warn(file.warning)
    return PacedSource(clock, file)


def check_sink(spec: str, *, device: str | None = None, rate: int | None = None) -> None:
    """Raises AudioError where pick_sink would, as far as that shows before a file is opened."""
    if spec == "speaker":
        check_device(device, "output")
    elif spec not in ("null", "-"):
        if Path(spec).suffix.lower() not in WRITTEN_ENDINGS:
            raise AudioError(f"no sink {spec!r}: give {SINK_FORMS}")
        check_format(Path(spec), rate or DEFAULT_RATE)


def pick_sink(
    spec: str,
    clock: Clock,
    *,
    device: str | None = None,
    rate: int | None = None,
    channels: int | None = None,
    ahead_ms: float = AHEAD_MS,
    notify: Callable[[str], None] = lambda text: None,
) -> Sink:
    """`spec` is one of SINK_FORMS. `rate` (Hz) and `channels` None: the device's own, DEFAULT_RATE
    and mono elsewhere. `notify` as of pick_source. Raises AudioError naming what was wrong.
    """
    check_sink(spec, device=device, rate=rate)
    if spec == "speaker":
        return loudspeaker(clock, device, rate, channels, ahead_ms, notify)
    if spec == "null":
        return PacedSink(clock, Discard(rate or DEFAULT_RATE, channels or 1), ahead_ms)
    if spec == "-":
        return PacedSink(clock, PipeWriter(rate or DEFAULT_RATE, channels or 1), ahead_ms)
    path = Path(spec)
    return PacedSink(clock, file_writer(path, rate or DEFAULT_RATE, channels or 1), ahead_ms)
