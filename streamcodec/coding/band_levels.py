"""Levels of the high band in bytes: a quantiser of two stages around what the packet before lets
expect.

Shapes: N streams, S segments of a packet, B bands. Levels are in dB above usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tables import HighBandTables

Floats = NDArray[np.float32]
LARGEST_STEP_DB = 40.0
# How much an error of a level counts: fully at LOUD_DB, LEAST_WEIGHT from QUIET_DB down.
LOUD_DB, QUIET_DB, LEAST_WEIGHT = -60.0, -90.0, 0.4
CANDIDATES = 4  # entries of the first codebook with which the second is tried


class LevelQuantiser:
    """Keeps no state: `offset` [N, B], the mean of the levels that were told for the packet before,
    goes in and comes out.
    """

    def __init__(self, tables: HighBandTables) -> None:
        self._tables = tables
        self._books = [book.reshape(len(book), -1) for book in tables.codebooks]

    def expected(self, offset: Floats) -> Floats:
        """-> [N, 1, B], of both segments."""
        levels: Floats = self._tables.decay * offset[:, None]
        return levels

    def weights(self, levels: Floats) -> Floats:
        """How much an error of each counts, [N, S, B]."""
        loud = (levels + self._tables.mean - np.float32(QUIET_DB)) / (LOUD_DB - QUIET_DB)
        weights: Floats = loud.clip(LEAST_WEIGHT, 1)
        return weights

    def entries(self, levels: Floats, offset: Floats) -> NDArray[np.intp]:
        """levels [N, S, B] -> the entry of each codebook that describes them best, [N, 2]."""
        count = len(levels)
        wanted = (levels - self.expected(offset)).clip(-LARGEST_STEP_DB, LARGEST_STEP_DB)
        wanted, weights = wanted.reshape(count, -1), self.weights(levels).reshape(count, -1)
        first, second = self._books
        near = np.argsort(errors_of(wanted, weights, first), 1, kind="stable")[:, :CANDIDATES]
        best, least = np.zeros((count, 2), np.intp), np.full(count, np.inf)
        for candidate in near.T:
            rest = wanted - first[candidate]
            errors = errors_of(rest, weights, second) + (weights * rest * rest).sum(
                1, keepdims=True
            )
            entry = errors.argmin(1)
            error = errors[np.arange(count), entry]
            better = error < least
            best[better] = np.stack([candidate, entry], 1)[better]
            least = np.minimum(least, error)
        return best

    def levels(self, entries: NDArray[np.intp] | Sequence[Sequence[int]], offset: Floats) -> Floats:
        """What a decoder makes of entries [N, 2], [N, S, B]."""
        first, second = np.transpose(entries)
        books = self._tables.codebooks
        levels: Floats = self.expected(offset) + books[0, first] + books[1, second]
        return levels


def errors_of(wanted: Floats, weights: Floats, book: Floats) -> NDArray[np.floating[Any]]:
    """[N, D], [N, D], [entries, D] -> weighted squared distances [N, entries], each row less a
    constant.
    """
    return weights @ (book * book).T - 2 * (weights * wanted) @ book.T
