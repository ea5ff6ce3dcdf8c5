"""A room's microphone and loudspeaker, where a program leaves sound to them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from streamcodec.errors import AudioError

from ..audio.devices import newest_devices
from ..audio.pick import ahead_for, loudspeaker, microphone
from ..audio.recorded import RecordedWatch
from ..audio.reopening import ReopeningSink, ReopeningSource
from ..clock import Clock
from ..live.codec import Codec
from ..live.device_menu import Choice, Finds, choices
from .settings import RoomSettings

Kind: TypeAlias = Literal["microphone", "loudspeaker"]
_LOG = logging.getLogger("streamcodec_client")


@dataclasses.dataclass(frozen=True)
class OpenDevices:
    """Those of a room; None where the program itself gives and takes sound. watch: over what a
    sound server gives for a microphone.
    """

    microphone: ReopeningSource | None = None
    loudspeaker: ReopeningSink | None = None
    watch: RecordedWatch | None = None

    @property
    def by_kind(self) -> dict[Kind, ReopeningSource | ReopeningSink]:
        """Those that there are."""
        both: dict[Kind, ReopeningSource | ReopeningSink | None]
        both = {"microphone": self.microphone, "loudspeaker": self.loudspeaker}
        return {kind: device for kind, device in both.items() if device is not None}

    def close(self) -> None:
        """Any number of times."""
        for device in self.by_kind.values():
            device.close()
        if self.watch is not None:
            self.watch.close()


NO_DEVICES = OpenDevices()


def open_devices(settings: RoomSettings, codec: Codec, clock: Clock) -> OpenDevices:
    """What `settings` ask for. May take seconds. Raises AudioError, saying what there is, for a
    device that cannot be had.
    """
    opened = OpenDevices()
    try:
        if settings.microphone:
            device, channels = _asked(settings.microphone), settings.channels
            found = microphone(clock, device, None, channels, _LOG.warning)
            opened = OpenDevices(found)
        if settings.loudspeaker:
            device, ahead_ms = _asked(settings.loudspeaker), ahead_for(codec.slowest_step_ms)
            heard = loudspeaker(clock, device, None, None, ahead_ms, _LOG.warning)
            opened = OpenDevices(opened.microphone, heard)
        if settings.microphone:
            opened = dataclasses.replace(opened, watch=RecordedWatch(_warn))
    except BaseException:
        opened.close()
        raise
    return opened


def _warn(trouble: str, news: str) -> None:
    if trouble or news:
        _LOG.warning("%s", trouble or news)


def _asked(device: bool | str) -> str | None:
    return device if isinstance(device, str) else None


class RoomDevice:
    """The microphone or loudspeaker of a room. One that vanishes ends no session: it is looked for
    until it is back, or the default one takes its place.
    """

    def __init__(
        self,
        kind: Kind,
        device: ReopeningSource | ReopeningSink,
        outcome: Callable[[asyncio.Future[str]], Awaitable[str]],
        find: Finds = newest_devices,
    ) -> None:
        """`outcome` waits for a future, and raises what ends the session before. `find`: as of
        DeviceMenu.
        """
        self._kind, self._device = kind, device
        self._outcome, self._find = outcome, find
        self._switching = asyncio.Lock()  # of two wishes at once, one would never be answered

    @property
    def name(self) -> str | None:
        """Of the device in use; None while there is none."""
        return self._device.name

    async def choices(self) -> list[Choice]:
        """The devices that it may be switched to. Those plugged in since this process has begun
        are found only while it has none open. Raises AudioError.
        """
        found, _ = await asyncio.to_thread(self._find)
        return choices(found, self._kind, self._device.index)

    async def switch(self, device: str) -> str:
        """To another one, by its index or part of its name -> its whole name. The session goes on
        meanwhile. Raises AudioError where it cannot be had: the one before, or the default one, is
        used then; and what ended the session, or RoomClosed, after its end.
        """
        async with self._switching:
            loop = asyncio.get_running_loop()
            outcome: asyncio.Future[str] = loop.create_future()

            def told(failure: str) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(answer, failure)

            def answer(failure: str) -> None:
                if not outcome.done():
                    outcome.set_result(failure)

            self._device.switch(device, told)
            if failure := await self._outcome(outcome):
                raise AudioError(failure)
        return self.name or device
