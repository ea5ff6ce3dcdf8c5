"""Microphones and loudspeakers through PortAudio. The callbacks only copy samples: no locks, no
logging, no inference.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from typing import Any, Literal

import numpy as np

from streamcodec.errors import AudioError
from streamcodec.units import NS, Pcm

from ..clock import Clock
from .blocks import AHEAD_MS, SOURCE_LAG_LIMIT_MS, Block, block_samples
from .lead import Lead
from .portaudio import LIBRARY
from .ring import SampleRing

# What a callback is given at once. PortAudio keeps two of them in the driver, each way: with 10 ms
# a call has 20 ms more delay.
DEVICE_BLOCK_MS = 5
POLL_S = 0.002  # callbacks must not take locks, so the other thread polls
SILENT_DEVICE_S = 2.0  # a device without a callback for so long is gone
LATENCY_LIMIT_S = 0.5  # some hosts report latencies of hours


@dataclasses.dataclass(frozen=True)
class SoundDevice:
    """A device as PortAudio lists it. The index changes when devices come and go; the name does
    not.
    """

    index: int
    name: str
    host_api: str
    input_channels: int
    output_channels: int
    sample_rate: int
    input_latency_ms: float
    output_latency_ms: float
    default_input: bool
    default_output: bool


def list_devices() -> list[SoundDevice]:
    """As they were when PortAudio was initialised. Raises AudioError, saying what to install, where
    there is no PortAudio.
    """
    with LIBRARY.taken() as portaudio:
        try:
            return _listed(portaudio)
        except portaudio.PortAudioError as error:
            raise AudioError(f"sound devices cannot be listed: {error}") from error


def newest_devices() -> tuple[list[SoundDevice], bool]:
    """-> what there is, and whether that includes what was plugged in since PortAudio was
    initialised: not while this process has any device. May take seconds. Raises AudioError.
    """
    renewed = LIBRARY.renew()
    return list_devices(), renewed


def check_device(device: str | None, kind: Literal["input", "output"]) -> None:
    """Raises AudioError where there is no such device; `device` as of MicrophoneSource."""
    with LIBRARY.taken() as portaudio:
        _find(portaudio, device, kind)


class MicrophoneSource:
    """A Source that holds at most SOURCE_LAG_LIMIT_MS: a reader further behind loses the oldest
    samples.
    """

    def __init__(
        self, clock: Clock, device: str | None, sample_rate: int | None, channels: int
    ) -> None:
        """`device` is an index or part of a name; None takes the system's default. Nobody
        looks for new devices until this one is closed (Library). Raises AudioError.
        """
        self._clock = clock
        self._portaudio, self._taken = LIBRARY.take(), True
        try:
            self.index, info = _find(self._portaudio, device, "input")
            self.name: str = info["name"]
            self.sample_rate = sample_rate or round(info["default_samplerate"])
            # Some hardware captures in stereo only: then the sender mixes both channels.
            self.channels = _supported_channels(
                self._portaudio.check_input_settings, self.index, self.sample_rate, channels
            )
        except BaseException:
            LIBRARY.give_back()
            raise
        self.ended = False
        self._ring = SampleRing(self.sample_rate, self.channels)
        self._mark = (0, 0)  # samples captured, and when the last of them was
        self._stream: Any = None

    def start(self) -> None:
        self._mark = (0, self._clock.now_ns())
        self._stream = _open(
            self._portaudio.InputStream,
            self.index,
            self.sample_rate,
            self.channels,
            self._callback,
        )

    def read(self, timeout_s: float) -> Block | None:
        size = block_samples(self.sample_rate)
        deadline_ns = self._clock.now_ns() + round(timeout_s * NS)
        while self._ring.available < size:
            now_ns = self._clock.now_ns()
            if now_ns - self._mark[1] > SILENT_DEVICE_S * NS:
                raise AudioError(f"{self.name} stopped delivering sound; was it unplugged?")
            if now_ns >= deadline_ns:
                return None
            self._clock.sleep(POLL_S)
        surplus = self._ring.available - SOURCE_LAG_LIMIT_MS * self.sample_rate // 1000
        if surplus > 0:
            self._ring.skip(surplus)
        first = self._ring.taken
        pcm = np.empty((size, self.channels), np.float32)
        self._ring.read_into(pcm)
        captured, captured_ns = self._mark
        return Block(
            pcm, first, captured_ns - (captured - self._ring.taken) * NS // self.sample_rate
        )

    def close(self) -> None:
        self.ended = True
        stream, self._stream = self._stream, None
        _close(stream)
        if self._taken:
            self._taken = False
            LIBRARY.give_back()

    def _callback(self, pcm: Pcm, frames: int, time: Any, status: Any) -> None:
        age_s = _plausible(time.currentTime - time.inputBufferAdcTime) - frames / self.sample_rate
        self._ring.write(pcm)
        self._mark = (self._ring.written, self._clock.now_ns() - round(max(age_s, 0.0) * NS))


class SpeakerSink:
    """A Sink that keeps `ahead_ms` of audio ready for the device beyond the block being played, and
    more for a while after it had nothing to play (Lead). It adds that much delay, and a block may
    be late by that much.
    """

    def __init__(
        self,
        clock: Clock,
        device: str | None,
        sample_rate: int | None,
        channels: int | None,
        ahead_ms: float = AHEAD_MS,
    ) -> None:
        """`device` is an index or part of a name; None takes the system's default. Nobody
        looks for new devices until this one is closed (Library). Raises AudioError.
        """
        self._lead = Lead(ahead_ms)
        self._clock = clock
        self._portaudio, self._taken = LIBRARY.take(), True
        try:
            self.index, info = _find(self._portaudio, device, "output")
            self.name: str = info["name"]
            self.sample_rate = sample_rate or round(info["default_samplerate"])
            wanted = channels or min(2, info["max_output_channels"])
            self.channels = _supported_channels(
                self._portaudio.check_output_settings, self.index, self.sample_rate, wanted
            )
        except BaseException:
            LIBRARY.give_back()
            raise
        self.underruns = 0
        self._ring = SampleRing(self.sample_rate, self.channels)
        self._mark = (0, 0)  # samples given to the device, and when the next of them is heard
        self._called_ns = 0
        self._running = False
        self._stream: Any = None

    def start(self) -> None:
        self._called_ns = self._clock.now_ns()
        self._mark = (0, self._called_ns)
        self._stream = _open(
            self._portaudio.OutputStream,
            self.index,
            self.sample_rate,
            self.channels,
            self._callback,
        )

    def wants_block(self, timeout_s: float) -> bool:
        now_ns = self._clock.now_ns()
        deadline_ns = now_ns + round(timeout_s * NS)
        self._lead.ran_dry(self.underruns, now_ns)
        wanted = round(self._lead.ms(now_ns) * self.sample_rate / 1000)
        # Before the first callback, for which some hosts take half a second, it is unknown when a
        # block would be heard.
        while not self._running or self._ring.available > wanted:
            now_ns = self._clock.now_ns()
            if now_ns - self._called_ns > SILENT_DEVICE_S * NS:
                raise AudioError(f"{self.name} stopped playing; was it unplugged?")
            if now_ns >= deadline_ns:
                return False
            self._clock.sleep(POLL_S)
        return True

    def write(self, pcm: Pcm) -> int:
        given, heard_ns = self._mark
        played_ns = heard_ns + (self._ring.written - given) * NS // self.sample_rate
        self._ring.write(pcm)
        return max(played_ns, self._clock.now_ns())

    def close(self) -> None:
        stream, self._stream = self._stream, None
        _close(stream)
        if self._taken:
            self._taken = False
            LIBRARY.give_back()

    def _callback(self, out: Pcm, frames: int, time: Any, status: Any) -> None:
        filled = self._ring.read_into(out)
        out[filled:] = 0
        if filled < frames and self._ring.written:
            self.underruns += 1
        self._called_ns = self._clock.now_ns()
        delay_s = (
            _plausible(time.outputBufferDacTime - time.currentTime) + frames / self.sample_rate
        )
        self._mark = (self._ring.taken, self._called_ns + round(delay_s * NS))
        self._running = True


def _listed(portaudio: Any) -> list[SoundDevice]:
    hosts = portaudio.query_hostapis()
    default_input, default_output = portaudio.default.device
    return [
        SoundDevice(
            index=index,
            name=device["name"],
            host_api=hosts[device["hostapi"]]["name"],
            input_channels=device["max_input_channels"],
            output_channels=device["max_output_channels"],
            sample_rate=round(device["default_samplerate"]),
            input_latency_ms=1000 * device["default_low_input_latency"],
            output_latency_ms=1000 * device["default_low_output_latency"],
            default_input=index == default_input,
            default_output=index == default_output,
        )
        for index, device in enumerate(portaudio.query_devices())
    ]


def _find(portaudio: Any, device: str | None, kind: str) -> tuple[int, Any]:
    wanted: int | str | None = int(device) if device is not None and device.isdecimal() else device
    try:
        info = portaudio.query_devices(wanted, kind)
    except (portaudio.PortAudioError, ValueError) as error:
        # PortAudio's own message where there is no default is "Error querying device -1".
        reason = f"no {kind} device" if device is None else f"no {kind} device {device!r}"
        names = [found["name"] for found in portaudio.query_devices()]
        close = difflib.get_close_matches(device or "", names, 1)
        meant = f", did you mean {close[0]!r}?" if close else ";"
        raise AudioError(f"{reason}{meant} `streamcodec devices` lists what is there") from error
    return info["index"], info


def _supported_channels(check: Any, device: int, sample_rate: int, channels: int) -> int:
    """`channels`, or the other of mono and stereo where the device knows only that."""
    reason = ""
    for candidate in (channels, 3 - channels):
        try:
            check(device=device, samplerate=sample_rate, channels=candidate, dtype="float32")
        except Exception as error:  # noqa: BLE001 - PortAudioError is known only once the library is loaded
            reason = reason or str(error)
        else:
            return candidate
    raise AudioError(
        f"sound device {device} cannot do {sample_rate} Hz with {channels} channels: {reason}"
    )


def _open(stream_type: Any, device: int, sample_rate: int, channels: int, callback: Any) -> Any:
    try:
        stream = stream_type(
            device=device,
            samplerate=sample_rate,
            channels=channels,
            dtype="float32",
            blocksize=max(1, sample_rate * DEVICE_BLOCK_MS // 1000),
            latency="low",  # the library's default is "high", 40 ms more
            callback=callback,
        )
        stream.start()
    except Exception as error:
        raise AudioError(f"cannot open sound device {device}: {error}") from error
    return stream


def _close(stream: Any) -> None:
    if stream is not None:
        stream.abort(ignore_errors=True)
        stream.close(ignore_errors=True)


def _plausible(latency_s: float) -> float:
    return min(max(latency_s, 0.0), LATENCY_LIMIT_S) if math.isfinite(latency_s) else 0.0
