"""Sound devices that come and go during a call: a headset that is switched off, a sound server that
starts anew, a computer that slept; and another one that the user chooses. The call goes on, and
sound with it once a device is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeAlias, TypeVar

from streamcodec.errors import AudioError
from streamcodec.units import NS, Pcm

from ..clock import Clock
from .at_rate import DeviceSink, DeviceSource, Named, SinkAtRate, SourceAtRate
from .blocks import Block, with_channels
from .paced import Discard, PacedSink

RETRY_S, RENEW_S = 0.5, 2.0
POLL_S = 0.02


class _Started(Named, Protocol):
    @property
    def sample_rate(self) -> int: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


Device = TypeVar("Device", bound=_Started)
# Opens a device by its name or index, None for the system's default, and with a sample rate (Hz),
# None for its own. Raises AudioError.
Opens: TypeAlias = Callable[[str | None, int | None], Device]
# Is told what came of a switch: why the device could not be had; "" where it is in use.
Told: TypeAlias = Callable[[str], None]


def _nobody(failure: str) -> None:
    """Waits for the outcome of a switch."""


class _Opener(Generic[Device]):
    """Tries again and again: the device that was asked for last, the one before it, the default."""

    def __init__(
        self,
        clock: Clock,
        opens: Opens[Device],
        at_rate: Callable[[Device, int], Device],
        device: str | None,
        what: str,
        notify: Callable[[str], None],
        renew: Callable[[], None],
    ) -> None:
        """at_rate: makes a device that has another sample rate one of this rate. what: "microphone"
        or "loudspeaker".
        """
        self._clock, self._opens, self._at_rate = clock, opens, at_rate
        self._what, self._notify, self._renew = what, notify, renew
        # The one that was asked for last and could be had, and the one before it.
        self._devices = [device]
        self._asked: deque[tuple[str, Told]] = deque(maxlen=1)  # by another thread
        self._tried_ns = self._renewed_ns = 0
        self.worked = True  # sound came from the last one, or went there

    def ask(self, device: str, told: Told) -> None:
        """From any thread. Of several before `asked`, the last one counts."""
        self._asked.append((device, told))

    def asked(self) -> tuple[str, Told] | None:
        """What to change to, and who wants to know; None where that is not wanted."""
        return self._asked.popleft() if self._asked else None

    def lost(self, error: AudioError) -> None:
        if not self.worked and len(self._devices) > 1:
            del self._devices[0]  # else it would be tried for ever
        # At once, the first time: after a computer has slept the device is there.
        self._tried_ns = self._clock.now_ns() - round(RETRY_S * NS)
        self._notify(f"{error}; the call goes on without a {self._what} until one is there")

    def again(self, sample_rate: int) -> Device | None:
        """A device that has started, if it is time to try and there is one."""
        now_ns = self._clock.now_ns()
        if now_ns - self._tried_ns < RETRY_S * NS:
            return None
        self._tried_ns = now_ns
        if now_ns - self._renewed_ns >= RENEW_S * NS:
            with contextlib.suppress(AudioError):
                self._renew()
            self._renewed_ns = self._clock.now_ns()
        for device in dict.fromkeys((*self._devices, None)):
            try:
                found = self._started(device, sample_rate)
            except AudioError:
                continue
            which = found.name if device or not self._devices[0] else "the default device"
            self._notify(f"a {self._what} again: {which} is there")
            return found
        return None

    def another(self, device: str, sample_rate: int) -> tuple[Device | None, str]:
        """-> that device, started; the one before is closed already. Where it cannot be had, the
        one before or the default, None where none of them can, and why.
        """
        self._tried_ns = self._clock.now_ns()
        failure = ""
        for candidate in dict.fromkeys((device, *self._devices, None)):
            try:
                found = self._started(candidate, sample_rate)
            except AudioError as error:
                failure = failure or str(error)
                continue
            if failure:
                self._notify(
                    f"{device} cannot be used, the {self._what} is {found.name}: {failure}"
                )
            else:
                self._devices = list(dict.fromkeys((device, *self._devices)))[:2]
                self._notify(f"the {self._what} is now {found.name}")
                self.worked = False
            return found, failure
        self._notify(
            f"{device} cannot be used, the call goes on without a {self._what} until one is there: "
            f"{failure}"
        )
        return None, failure

    def _started(self, device: str | None, sample_rate: int) -> Device:
        """Raises AudioError."""
        try:
            found = self._opens(device, sample_rate)
        except AudioError:
            found = self._opens(device, None)  # many have but one rate
            if found.sample_rate != sample_rate:
                found = self._at_rate(found, sample_rate)
        try:
            found.start()
        except AudioError:
            found.close()
            raise
        return found


class ReopeningSource:
    """A Source. What fails before it has started, or while it starts, is raised as ever."""

    def __init__(
        self,
        clock: Clock,
        opens: Opens[DeviceSource],
        device: str | None,
        sample_rate: int | None,
        notify: Callable[[str], None],
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        """In the reading thread notify is told what happens to the device, and renew called now and
        then while it is missed (Library.keep_fresh). Raises AudioError.
        """
        self._clock = clock
        self._opener = _Opener(clock, opens, SourceAtRate, device, "microphone", notify, renew)
        self._source: DeviceSource | None = opens(device, sample_rate)
        self.sample_rate, self.channels = self._source.sample_rate, self._source.channels
        self.ended = False
        self._first = 0  # position of the device's sample 0
        self._end, self._end_ns = 0, 0  # of the last block
        self._after_pause = False

    def start(self) -> None:
        assert self._source is not None
        self._source.start()
        self._end_ns = self._clock.now_ns()

    @property
    def index(self) -> int | None:
        """Of the device in use, as the system lists it; None while there is none. From any
        thread.
        """
        source = self._source
        return None if source is None else source.index

    @property
    def name(self) -> str | None:
        """As `index`."""
        source = self._source
        return None if source is None else source.name

    def switch(self, device: str, told: Told = _nobody) -> None:
        """To another device, which the reading thread opens next. From any thread. notify is told
        what came of it, and so is `told`.
        """
        self._opener.ask(device, told)

    def read(self, timeout_s: float) -> Block | None:
        """As Source.read; None, too, while there is no device."""
        if (asked := self._opener.asked()) is not None:
            if self._source is not None:
                self._source.close()
            self._source = None
            device, told = asked
            source, failure = self._opener.another(device, self.sample_rate)
            self._begin(source)
            told(failure)
        elif self._source is None:
            self._begin(self._opener.again(self.sample_rate))
        if self._source is None:
            self._clock.sleep(min(timeout_s, POLL_S))
            return None
        try:
            block = self._source.read(timeout_s)
        except AudioError as error:
            self._opener.lost(error)
            self._source.close()
            self._source = None
            return None
        if block is None:
            return None
        self._opener.worked = True
        return self._placed(block)

    def close(self) -> None:
        self.ended = True
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def _begin(self, source: DeviceSource | None) -> None:
        """Of what was captured now on, where does it belong?"""
        self._source = source
        if source is not None:
            missing_ns = max(0, self._clock.now_ns() - self._end_ns)
            self._first = self._end + missing_ns * self.sample_rate // NS
            self._after_pause = True

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
        opens: Opens[DeviceSink],
        device: str | None,
        sample_rate: int | None,
        notify: Callable[[str], None],
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        """As of ReopeningSource, in the writing thread. Raises AudioError."""
        self._clock = clock
        self._opener = _Opener(clock, opens, SinkAtRate, device, "loudspeaker", notify, renew)
        self._sink: DeviceSink | None = opens(device, sample_rate)
        self.sample_rate, self.channels = self._sink.sample_rate, self._sink.channels
        self._nothing = PacedSink(clock, Discard(self.sample_rate, self.channels))
        self._underruns = 0  # of devices that are gone

    @property
    def index(self) -> int | None:
        """As of ReopeningSource."""
        sink = self._sink
        return None if sink is None else sink.index

    @property
    def name(self) -> str | None:
        """As of ReopeningSource."""
        sink = self._sink
        return None if sink is None else sink.name

    def switch(self, device: str, told: Told = _nobody) -> None:
        """To another device, which the writing thread opens next; as of ReopeningSource."""
        self._opener.ask(device, told)

    @property
    def underruns(self) -> int:
        """As of Sink; of all its devices."""
        return self._underruns + (0 if self._sink is None else self._sink.underruns)

    def start(self) -> None:
        assert self._sink is not None
        self._sink.start()

    def wants_block(self, timeout_s: float) -> bool:
        """As Sink.wants_block."""
        if (asked := self._opener.asked()) is not None:
            self._drop()
            device, told = asked
            self._sink, failure = self._opener.another(device, self.sample_rate)
            told(failure)
        elif self._sink is None:
            self._sink = self._opener.again(self.sample_rate)
        if self._sink is None:
            return self._nothing.wants_block(timeout_s)
        try:
            wanted = self._sink.wants_block(timeout_s)
            self._opener.worked = self._opener.worked or wanted
            return wanted
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
        self._opener.lost(error)
        self._drop()

    def _drop(self) -> None:
        if self._sink is None:
            return
        self._underruns += self._sink.underruns
        self._sink.close()
        self._sink = None
        self._nothing = PacedSink(self._clock, Discard(self.sample_rate, self.channels))
