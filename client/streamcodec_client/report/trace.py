"""--trace FILE: JSON lines, one for each packet; times are from the monotonic clock, in ns."""

from __future__ import annotations

import json
import threading
from collections import deque
from pathlib import Path
from typing import Protocol, TextIO

from streamcodec.files import writing
from streamcodec.units import NS

# ten minutes at 100 packets/s, should a disk hang: then the oldest are lost
MAX_WAITING_LINES = 60_000
Value = int | float | str | bool | None
Line = dict[str, Value]


class Trace(Protocol):
    """Where the live path writes what happened to each packet."""

    def add(self, line: Line) -> None:
        """From any thread; never waits for a disk."""
        ...

    def flush(self) -> None:
        """Writes what was added; belongs in a thread that may wait for a disk. Raises
        OutputError.
        """
        ...

    def close(self) -> None: ...


class NullTrace:
    """The trace of a session that records none."""

    def add(self, line: Line) -> None:
        """Drops the line."""

    def flush(self) -> None:
        """There is nothing to write."""

    def close(self) -> None:
        """There is nothing to close."""


NO_TRACE = NullTrace()


class FileTrace:
    """A trace as JSON lines in a file."""

    def __init__(self, path: Path) -> None:
        """Raises OutputError where the file cannot be written."""
        self._path = path
        with writing(path):
            self._file: TextIO = path.open("w", encoding="ascii")
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque(maxlen=MAX_WAITING_LINES)

    def add(self, line: Line) -> None:
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        with self._lock:
            lines = list(self._lines)
            self._lines.clear()
        with writing(self._path):
            self._file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
            self._file.flush()

    def close(self) -> None:
        with writing(self._path), self._file:
            self.flush()


class PlayedPackets:
    """The lines of one talker's packets in a listener's trace. When a packet is heard is known only
    once its block has been given to the sink, so its line waits until then.
    """

    def __init__(self, trace: Trace, stream: int, sample_rate: int) -> None:
        self._trace, self._stream, self._sample_rate = trace, stream, sample_rate
        self._waiting: list[tuple[int, Line]] = []  # offset in the block, in samples

    def late(self, sequence: int, received_ns: int) -> None:
        """A packet came after it was concealed; that it was concealed has a line of its own."""
        line = self._line(sequence, received_ns, None, None, None, late=True)
        self._trace.add(line | {"played_ns": None})

    def decoded(
        self,
        offset: int,
        sequence: int,
        received_ns: int | None,
        polled_ns: int,
        decode_start_ns: int,
        decoded_ns: int,
        *,
        concealed: bool,
    ) -> None:
        """A packet, or its substitute, begins `offset` samples into the block being made."""
        line = self._line(
            sequence, received_ns, polled_ns, decode_start_ns, decoded_ns, concealed=concealed
        )
        self._waiting.append((offset, line))

    def heard(self, heard_ns: int) -> None:
        """The block is heard from `heard_ns` on."""
        for offset, line in self._waiting:
            self._trace.add(line | {"played_ns": heard_ns + offset * NS // self._sample_rate})
        self._waiting.clear()

    def _line(
        self,
        sequence: int,
        received_ns: int | None,
        polled_ns: int | None,
        decode_start_ns: int | None,
        decoded_ns: int | None,
        *,
        concealed: bool = False,
        late: bool = False,
    ) -> Line:
        return {
            "sequence": sequence,
            "stream": self._stream,
            "received_ns": received_ns,
            "polled_ns": polled_ns,
            "decode_start_ns": decode_start_ns,
            "decoded_ns": decoded_ns,
            "concealed": concealed,
            "late": late,
        }
