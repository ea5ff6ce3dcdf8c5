"""What a relay writes: lines of text or JSON objects, each with the time."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Mapping
from typing import Protocol

import click


class Tell(Protocol):
    """Takes something that happened: its kind, a line for people, and its fields."""

    def __call__(self, kind: str, text: str, /, **fields: object) -> None: ...


def tell_nobody(kind: str, text: str, /, **fields: object) -> None:
    """Nobody wants to know."""


class Log(logging.Handler):
    """Lines on standard output. It also takes what libraries log from warnings on, as lines of the
    type "log": on standard error, or with `as_json` on standard output, too.
    """

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(logging.WARNING)
        self._as_json = as_json
        logging.getLogger().addHandler(self)

    def tell(self, kind: str, text: str, /, **fields: object) -> None:
        """`text` for people, or an object with `type` (kind), `time` and `fields`."""
        click.echo(self._line(kind, text, fields))

    def emit(self, record: logging.LogRecord) -> None:
        """What a library logs. A traceback makes further lines in text, none in JSON."""
        text = self.format(record)
        level = record.levelname.lower()
        fields = {"level": level, "logger": record.name, "text": text}
        click.echo(self._line("log", f"{level}: {text}", fields), err=not self._as_json)

    def _line(self, kind: str, text: str, fields: Mapping[str, object]) -> str:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        time = now.replace("+00:00", "Z")  # RFC 3339
        if self._as_json:
            return json.dumps({"type": kind, "time": time, **fields})
        return f"{time} {text}"
