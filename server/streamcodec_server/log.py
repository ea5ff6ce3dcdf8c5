"""What a relay writes: lines of text or JSON objects, each with the time."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import queue
import threading
import time
from collections.abc import Mapping
from typing import Protocol

import click

MOST_LINES = 10_000
FAREWELL_S = 1.0


class Tell(Protocol):
    """Takes something that happened: its kind, a line for people, and its fields."""

    def __call__(self, kind: str, text: str, /, **fields: object) -> None: ...


def tell_nobody(kind: str, text: str, /, **fields: object) -> None:
    """Nobody wants to know."""


@dataclasses.dataclass(frozen=True)
class _Line:
    """at_s: when it happened, by `time.time`."""

    kind: str
    text: str
    fields: Mapping[str, object]
    is_error: bool = False
    at_s: float = dataclasses.field(default_factory=time.time)


class Log(logging.Handler):
    """Lines on standard output. It also takes what libraries log from warnings on, as lines of the
    type "log": on standard error, or with `as_json` on standard output, too.

    A thread writes them: whoever reads them slowly, or not at all, must not hold up the relay.
    Lines that find MOST_LINES before them are left out and counted.
    """

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(logging.WARNING)
        self._as_json, self._left_out = as_json, 0
        self._lines: queue.Queue[_Line | None] = queue.Queue(MOST_LINES)
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()
        logging.getLogger().addHandler(self)

    def close(self) -> None:
        """Writes what waits, for at most FAREWELL_S; takes nothing more."""
        logging.getLogger().removeHandler(self)
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=FAREWELL_S)
            self._writer.join(FAREWELL_S)
        super().close()

    def tell(self, kind: str, text: str, /, **fields: object) -> None:
        """`text` for people, or an object with `type` (kind), `time` and `fields`."""
        self._put(_Line(kind, text, fields))

    def emit(self, record: logging.LogRecord) -> None:
        """What a library logs. A traceback makes further lines in text, none in JSON."""
        text = self.format(record)
        level = record.levelname.lower()
        fields = {"level": level, "logger": record.name, "text": text}
        self._put(_Line("log", f"{level}: {text}", fields, is_error=not self._as_json))

    def _put(self, line: _Line) -> None:
        try:
            if self._left_out:
                count = self._left_out
                missing = f"{count} lines were left out: nobody took them"
                self._lines.put_nowait(_Line("left_out", missing, {"lines": count}))
                self._left_out = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._left_out += 1

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            # whoever read them is gone, and nobody else is to be told
            with contextlib.suppress(OSError, ValueError):
                click.echo(self._written(line), err=line.is_error)

    def _written(self, line: _Line) -> str:
        at = datetime.datetime.fromtimestamp(line.at_s, datetime.UTC)
        stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")  # RFC 3339
        if self._as_json:
            return json.dumps({"type": line.kind, "time": stamp, **line.fields})
        return f"{stamp} {line.text}"
