"""Levels of the high band in bytes: a quantiser of two stages around what the packet before lets
expect; for the second channel of joint stereo, of one stage or two, around what the first channel
lets expect as well.

Shapes: N streams, S segments of a packet, B bands. Levels are in dB above usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..tables import HIGH_BAND_REFINED, HighBandTables

Floats = NDArray[np.float32]
Entries: TypeAlias = NDArray[np.intp] | Sequence[Sequence[int]]
LARGEST_STEP_DB = 40.0
# How much an error of a level counts: fully at LOUD_DB, LEAST_WEIGHT from QUIET_DB down.
LOUD_DB, QUIET_DB, LEAST_WEIGHT = -60.0, -90.0, 0.4
CANDIDATES = 4  # entries of the first codebook with which the second is tried
# What a second byte of a second channel is to save: squared dB, weighted, of all levels together.
SECOND_BYTE_WORTH = 40.0
UNREFINED = -1  # in place of a fine entry


class LevelQuantiser:
    """Keeps no state: `offset` [N, B], the mean of the levels that were told for the packet before,
    goes in and comes out.
    """

    def __init__(self, tables: HighBandTables) -> None:
        self._tables = tables
        books = (*tables.codebooks, tables.second_codebook)
        self._coarse, self._fine, self._second_channel = (
            book.reshape(len(book), -1) for book in books
        )

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
        wanted, weights = self._wanted(levels, offset)
        errors = errors_of(wanted, weights, self._coarse)
        return self._refined(wanted, weights, errors, self._coarse, None)[0]

    def levels(self, entries: Entries, offset: Floats) -> Floats:
        """What a decoder makes of entries [N, 2], [N, S, B]."""
        levels: Floats = self.expected(offset) + self.added(entries)
        return levels

    def added(self, entries: Entries) -> Floats:
        """By entries [N, 2] to what was expected, [N, S, B]."""
        first, second = np.transpose(entries)
        books = self._tables.codebooks
        added: Floats = books[0, first] + books[1, second]
        return added

    def second_entries(self, levels: Floats, offset: Floats, added: Floats) -> NDArray[np.intp]:
        """levels [N, S, B] of second channels, the first of which have `added` [N, S, B] -> the
        entry that describes them best, and its refinement or UNREFINED, [N, 2].
        """
        wanted, weights = self._wanted(levels, offset)
        of_first = added.reshape(wanted.shape)
        share, book = self._tables.second_share, self._second_channel
        errors = np.empty((len(levels), len(book)))
        for each in np.unique(share):
            rest, those = wanted - each * of_first, share == each
            of_rest = (weights * rest * rest).sum(1, keepdims=True)
            errors[:, those] = errors_of(rest, weights, book[those]) + of_rest
        entry = errors[:, :HIGH_BAND_REFINED].argmin(1)
        alone = np.stack([entry, np.full(len(entry), UNREFINED)], 1)
        errors[:, :HIGH_BAND_REFINED], least = np.inf, errors[np.arange(len(entry)), entry]
        refined, errors_left = self._refined(wanted, weights, errors, book, of_first)
        longer = errors_left + SECOND_BYTE_WORTH < least
        entries: NDArray[np.intp] = np.where(longer[:, None], refined, alone)
        return entries

    def second_levels(self, entries: Entries, offset: Floats, added: Floats) -> Floats:
        """What a decoder makes of entries [N, 2] of second channels, [N, S, B]."""
        entry, refinement = np.transpose(entries)
        tables = self._tables
        levels: Floats = self.expected(offset) + tables.second_share[entry][:, None, None] * added
        levels += tables.second_codebook[entry]
        refined = refinement != UNREFINED
        levels[refined] += tables.codebooks[1, refinement[refined]]
        return levels

    def _refined(
        self,
        wanted: Floats,
        weights: Floats,
        errors: NDArray[np.floating[Any]],
        book: Floats,
        of_first: Floats | None,
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Of the entries of `book` with the least errors [N, entries] that which, with one of the
        second codebook, describes best what is wanted [N, S * B] -> both entries [N, 2], and the
        error that is left [N]. of_first [N, S * B]: of which entries add their share.
        """
        count = len(wanted)
        near = np.argsort(errors, 1, kind="stable")[:, :CANDIDATES]
        best, least = np.zeros((count, 2), np.intp), np.full(count, np.inf)
        for candidate in near.T:
            rest = wanted - book[candidate]
            if of_first is not None:
                rest = rest - self._tables.second_share[candidate][:, None] * of_first
            left = errors_of(rest, weights, self._fine)
            left = left + (weights * rest * rest).sum(1, keepdims=True)
            entry = left.argmin(1)
            error = left[np.arange(count), entry]
            better = error < least
            best[better] = np.stack([candidate, entry], 1)[better]
            least = np.minimum(least, error)
        return best, least

    def _wanted(self, levels: Floats, offset: Floats) -> tuple[Floats, Floats]:
        """What is to be added to what is expected, and how much each counts, [N, S * B] both."""
        wanted = (levels - self.expected(offset)).clip(-LARGEST_STEP_DB, LARGEST_STEP_DB)
        count = len(levels)
        return wanted.reshape(count, -1), self.weights(levels).reshape(count, -1)


def errors_of(wanted: Floats, weights: Floats, book: Floats) -> NDArray[np.floating[Any]]:
    """[N, D], [N, D], [entries, D] -> weighted squared distances [N, entries], each row less a
    constant.
    """
    return weights @ (book * book).T - 2 * (weights * wanted) @ book.T
