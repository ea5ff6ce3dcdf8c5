"""What is said in a room, written into files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from streamcodec.errors import ConfigError, OutputError
from streamcodec.units import Pcm

from ..clock import Clock
from ..live.receiver import HeardBlock
from ..live.recorder import Recorder

_LOG = logging.getLogger("streamcodec_client")


class Recording:
    """From `Room.record` until `stop`, or until the room is left.

    folder: of its files. failure: why it had to end before; None where it did not. heard, said: as
    of Recorder; the room calls them.
    """

    def __init__(
        self,
        folder: Path,
        sample_rate: int,
        clock: Clock,
        name: str,
        ends: Callable[[Recording], Awaitable[None]],
    ) -> None:
        """As of Recorder. `ends` is awaited by `stop`: after it nothing more is recorded. Raises
        OutputError.
        """
        self.folder = folder
        self.failure: str | None = None
        self._ends = ends
        self._recorder = Recorder(folder, sample_rate, clock, name, self._on_failure)
        self.heard, self.said = self._recorder.heard, self._recorder.said

    @property
    def on(self) -> bool:
        """Whether what comes now is recorded; may be changed. What comes while it is False is
        silence in the files.
        """
        return self._recorder.on

    @on.setter
    def on(self, on: bool) -> None:
        self._recorder.on = on

    async def stop(self) -> list[Path]:
        """Writes what waits, and the mix -> the files: each person's, in the order in which they
        were first heard, and the mix at the end; none where nobody said anything. Any number of
        times. Raises OutputError where something could not be written.
        """
        await self._ends(self)
        files = await asyncio.to_thread(self._recorder.close)
        if self.failure is not None:
            raise OutputError(self.failure)
        return files

    def _on_failure(self, reason: str) -> None:
        """In any thread."""
        self.failure = reason
        _LOG.warning("%s", reason)


class Recordings:
    """Those of a room, one at a time."""

    def __init__(
        self, sample_rate: int, clock: Clock, name: str, settled: Callable[[], Awaitable[None]]
    ) -> None:
        """As of Recorder. `settled` returns when what was given to the room has come to `said`."""
        self._rate, self._clock, self._name, self._settled = sample_rate, clock, name, settled
        self._now: Recording | None = None  # other threads read it

    def start(self, folder: Path) -> Recording:
        """Raises ConfigError while there is one, OutputError."""
        if self._now is not None:
            raise ConfigError(f"this room is recorded already, into {self._now.folder}")
        self._now = Recording(folder, self._rate, self._clock, self._name, self._ended)
        return self._now

    async def end(self) -> None:
        """Of a room that is left. Raises OutputError."""
        if self._now is not None:
            await self._now.stop()

    def said(self, pcm: Pcm, captured_ns: int) -> None:
        """As Recorder.said."""
        if (now := self._now) is not None:
            now.said(pcm, captured_ns)

    def heard(self, blocks: Sequence[HeardBlock]) -> None:
        """As Recorder.heard."""
        if (now := self._now) is not None:
            now.heard(blocks)

    async def _ended(self, recording: Recording) -> None:
        if recording is self._now:
            await self._settled()
            self._now = None
