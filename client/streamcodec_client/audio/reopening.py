"""Sound devices that come and go during a call: a headset that is switched off, a sound server that
starts anew, a computer that slept. The call goes on, and sound with it once a device is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Generic, Protocol, TypeAlias, TypeVar

from streamcodec.errors import AudioError
from streamcodec.units import NS, Pcm

from ..clock import Clock
from .blocks import Block, Sink, Source, with_channels
from .paced import Discard, PacedSink

RETRY_S = 0.5
POLL_S = 0.02


class _Started(Protocol):
    def start(self) -> None: ...

    def close(self) -> None: ...


Device = TypeVar("Device", bound=_Started)
# Opens a device by its name or index, None for the system's default, and with a sample rate (Hz),
# None for its own. Raises AudioError.
Opens: TypeAlias = Callable[[str | None, int | None], Device]


class _Opener(Generic[Device]):
    """Tries again and again: the device that was asked for, then the default."""

    def __init__(
        self,
        clock: Clock,
        opens: Opens[Device],
        device: str | None,
        what: str,
        notify: Callable[[str], None],
    ) -> None:
        self._clock, self._opens, self._device = clock, opens, device
        self._what, self._notify = what, notify
        self._tried_ns = 0

    def lost(self, error: AudioError) -> None:
        # At once, the first time: after a computer has slept the device is there.
        self._tried_ns = self._clock.now_ns() - round(RETRY_S * NS)
        self._notify(f"{error}; the call goes on without {self._what} until one is there")

    def again(self, sample_rate: int) -> Device | None:
        """A device that has started, if it is time to try and there is one."""
        now_ns = self._clock.now_ns()
        if now_ns - self._tried_ns < RETRY_S * NS:
            return None
        self._tried_ns = now_ns
        for device in dict.fromkeys((self._device, None)):
            try:
                found = self._opens(device, sample_rate)
            except AudioError:
                continue
            try:
                found.start()
            except AudioError:
                found.close()
                continue
            which = "the default device" if device is None and self._device else "it"
            self._notify(f"{self._what} again: {which} is there")
            return found
        return None


class ReopeningSource:
    """A Source. What fails before it has started, or while it starts, is raised as ever."""

    def __init__(
        self,
        clock: Clock,
        opens: Opens[Source],
        device: str | None,
        sample_rate: int | None,
        notify: Callable[[str], None],
    ) -> None:
        """notify: is told, in the reading thread, what happens to the device. Raises AudioError."""
        self._clock = clock
        self._opener = _Opener(clock, opens, device, "a microphone", notify)
        self._source: Source | None = opens(device, sample_rate)
        self.sample_rate, self.channels = self._source.sample_rate, self._source.channels
        self.ended = False
        self._first = 0  # position of the device's sample 0
        self._end, self._end_ns = 0, 0  # of the last block
        self._after_pause = False

    def start(self) -> None:
        assert self._source is not None
        self._source.start()
        self._end_ns = self._clock.now_ns()

    def read(self, timeout_s: float) -> Block | None:
        """As Source.read; None, too, while there is no device."""
        if self._source is None:
            self._source = self._opener.again(self.sample_rate)
            if self._source is None:
                self._clock.sleep(min(timeout_s, POLL_S))
                return None
            missing_ns = max(0, self._clock.now_ns() - self._end_ns)
            self._first = self._end + missing_ns * self.sample_rate // NS
            self._after_pause = True
        try:
            block = self._source.read(timeout_s)
        except AudioError as error:
            self._opener.lost(error)
            self._source.close()
            self._source = None
            return None
        return None if block is None else self._placed(block)

    def close(self) -> None:
        self.ended = True
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def _placed(self, block: Block) -> Block:
        """With its position among all that was captured."""
        pcm = with_channels(block.pcm, self.channels)
        position = max(self._first + block.position, self._end)
        after_pause = block.after_pause or self._after_pause
        self._after_pause = False
        self._end, self._end_ns = position + len(pcm), block.captured_ns
        return dataclasses.replace(block, pcm=pcm, position=position, after_pause=after_pause)


class ReopeningSink:
    """A Sink. Without a device it takes what it is given at the pace of the clock."""

    def __init__(
        self,
        clock: Clock,
        opens: Opens[Sink],
        device: str | None,
        sample_rate: int | None,
        notify: Callable[[str], None],
    ) -> None:
        """notify: is told, in the writing thread, what happens to the device. Raises AudioError."""
        self._clock = clock
        self._opener = _Opener(clock, opens, device, "a loudspeaker", notify)
        self._sink: Sink | None = opens(device, sample_rate)
        self.sample_rate, self.channels = self._sink.sample_rate, self._sink.channels
        self._nothing = PacedSink(clock, Discard(self.sample_rate, self.channels))
        self._underruns = 0  # of devices that are gone

    @property
    def underruns(self) -> int:
        """As of Sink; of all its devices."""
        return self._underruns + (0 if self._sink is None else self._sink.underruns)

    def start(self) -> None:
        assert self._sink is not None
        self._sink.start()

    def wants_block(self, timeout_s: float) -> bool:
        """As Sink.wants_block."""
        if self._sink is None:
            self._sink = self._opener.again(self.sample_rate)
        if self._sink is None:
            return self._nothing.wants_block(timeout_s)
        try:
            return self._sink.wants_block(timeout_s)
        except AudioError as error:
            self._lose(error)
            return False

    def write(self, pcm: Pcm) -> int:
        """As Sink.write."""
        if self._sink is None:
            return self._nothing.write(pcm)
        try:
            return self._sink.write(with_channels(pcm, self._sink.channels))
        except AudioError as error:
            self._lose(error)
            return self._nothing.write(pcm)

    def close(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()

    def _lose(self, error: AudioError) -> None:
        assert self._sink is not None
        self._opener.lost(error)
        self._underruns += self._sink.underruns
        self._sink.close()
        self._sink = None
        self._nothing = PacedSink(self._clock, Discard(self.sample_rate, self.channels))
