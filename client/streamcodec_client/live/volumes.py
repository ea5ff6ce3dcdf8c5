"""How loud a listener wants whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

LEAST_DB, MOST_DB = -40.0, 12.0


@dataclasses.dataclass(frozen=True, slots=True)
class Volumes:
    """overall_db: of everybody. stream_db: besides, of one talker, by stream. muted: streams that
    are not to be heard.
    """

    overall_db: float = 0.0
    stream_db: Mapping[int, float] = dataclasses.field(default_factory=dict)
    muted: frozenset[int] = frozenset()

    def gain(self, stream: int) -> float:
        """What samples of a stream are multiplied by."""
        if stream in self.muted:
            return 0.0
        decibels = self.overall_db + self.stream_db.get(stream, 0.0)
        return 1.0 if decibels == 0 else float(10 ** (decibels / 20))

    def changed(self, by_db: float, stream: int | None = None) -> Volumes:
        """Louder or quieter, within LEAST_DB and MOST_DB; stream: of one talker."""
        if stream is None:
            return dataclasses.replace(self, overall_db=_within(self.overall_db + by_db))
        now = self.stream_db.get(stream, 0.0)
        return dataclasses.replace(self, stream_db={**self.stream_db, stream: _within(now + by_db)})

    def toggled(self, stream: int) -> Volumes:
        """That talker is heard no more, or again."""
        return dataclasses.replace(self, muted=self.muted ^ {stream})


def _within(decibels: float) -> float:
    return min(MOST_DB, max(LEAST_DB, decibels))
