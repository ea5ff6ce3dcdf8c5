"""The high band in C: what `NumpyHighBand` does, in a tenth of its time."""

from __future__ import annotations

import ctypes
import struct
import weakref

import numpy as np
from numpy.typing import NDArray

from ..config import HIGH_BAND_BYTES
from ..native.library import address_of, required_library
from ..tables import HIGH_BAND_FACTOR, HIGH_BAND_FFT, HighBandTables
from ..units import Pcm
from .band_levels import LARGEST_STEP_DB, LEAST_WEIGHT, LOUD_DB, QUIET_DB, SECOND_BYTE_WORTH
from .high_band import FADE_DB, FAINTEST, Joiner, NumpyHighBand, Splitter


class NativeHighBand:
    """As `HighBand`; any number of streams and threads share it."""

    def __init__(
        self, tables: HighBandTables, packet: int, overlap: int, variant: str | None = None
    ) -> None:
        """As `NumpyHighBand`. variant: the instruction set, of which None takes the best. Raises
        ValueError, ModelError where there is no library.
        """
        self._library = required_library()
        reference = NumpyHighBand(tables, packet, overlap)
        self.packet, self.lag = reference.packet, reference.lag
        self._packed = packed_high_band(reference)  # must outlive what is opened
        self._opened = ctypes.c_void_p()
        status = self._library.sc_high_band_open(
            self._packed,
            len(self._packed),
            None if variant is None else variant.encode(),
            ctypes.byref(self._opened),
        )
        if status != 0:
            raise ValueError(f"the native engine cannot use tables of these shapes ({status})")
        weakref.finalize(self, self._library.sc_high_band_close, self._opened)
        self._state_bytes = self._library.sc_high_band_state_bytes(self._opened)

    def splitter(self) -> Splitter:
        return _NativeSplitter(self._library, self._opened, self._state_bytes, self.packet)

    def joiner(self) -> Joiner:
        return _NativeJoiner(self._library, self._opened, self._state_bytes, self.packet)


class _NativeSplitter:
    """Keeps what goes in and out, and its addresses: finding those out costs as much as a call."""

    def __init__(
        self, library: ctypes.CDLL, band: ctypes.c_void_p, state_bytes: int, packet: int
    ) -> None:
        self._split = library.sc_high_band_split
        self._pcm = np.empty(packet, np.float32)
        self._core = np.empty(packet // HIGH_BAND_FACTOR, np.float32)
        self._told = np.empty(HIGH_BAND_BYTES, np.uint8)
        self._state = np.zeros(state_bytes, np.uint8)
        self._takes = (band, address_of(self._state), address_of(self._pcm))
        self._gives, self._tells = address_of(self._core), address_of(self._told)

    def split(self, pcm: Pcm, first: bytes | None = None) -> tuple[Pcm, bytes]:
        """As `Splitter.split`."""
        self._pcm[...] = pcm
        size = self._split(*self._takes, first, self._gives, self._tells)
        return self._core.copy(), self._told[:size].tobytes()

    def lower(self, pcm: Pcm) -> Pcm:
        """As `Splitter.lower`."""
        self._pcm[...] = pcm
        self._split(*self._takes, None, self._gives, None)
        return self._core.copy()


class _NativeJoiner:
    """As `_NativeSplitter`."""

    def __init__(
        self, library: ctypes.CDLL, band: ctypes.c_void_p, state_bytes: int, packet: int
    ) -> None:
        self._join = library.sc_high_band_join
        self._core = np.empty(packet // HIGH_BAND_FACTOR, np.float32)
        self._pcm = np.empty(packet, np.float32)
        self._state = np.zeros(state_bytes, np.uint8)
        self._takes = (band, address_of(self._state), address_of(self._core))
        self._gives = address_of(self._pcm)

    def join(self, core: Pcm, told: bytes | None, lost: bool, first: bytes | None = None) -> Pcm:
        """As `Joiner.join`."""
        self._core[...] = core
        size = 0 if told is None else len(told)
        self._join(*self._takes, told, size, first, lost, self._gives)
        return self._pcm.copy()


def packed_high_band(band: NumpyHighBand) -> bytes:
    """What sc_high_band_open reads (native/src/high_band.h): the head, then its arrays in that
    order, little-endian, of four bytes a number.
    """
    tables = band.tables
    phases = _phases(tables.low_pass)
    sizes = (band.packet, band.lag, len(tables.low_pass), phases.shape[1], *band.noise.T.shape)
    judged = (LARGEST_STEP_DB, FADE_DB, LOUD_DB, QUIET_DB, LEAST_WEIGHT, SECOND_BYTE_WORTH)
    head = struct.pack("<6i9f", *sizes, tables.decay[0], FAINTEST, *judged, band.unit)
    turns = np.exp(-2j * np.pi * np.arange(HIGH_BAND_FFT // 2) / HIGH_BAND_FFT)
    noise = np.concatenate([band.noise, band.noise[: len(band.window) * 2 // 3]]).T
    books = np.stack([*tables.codebooks, tables.second_codebook])
    arrays = (
        *(phases, band.window, band.rise),
        np.stack([turns.real, turns.imag], 1),
        *(tables.mean, books.reshape(*books.shape[:2], -1).mT, tables.second_share, noise),
    )
    floats = [np.ascontiguousarray(array, "<f4").tobytes() for array in arrays]
    return head + tables.edges.astype("<i4").tobytes() + b"".join(floats)


def _phases(low_pass: NDArray[np.float32]) -> NDArray[np.float32]:
    """[taps] -> every HIGH_BAND_FACTOR-th tap from each of the first on, with zeros behind."""
    padded = np.concatenate([low_pass, np.zeros(-len(low_pass) % HIGH_BAND_FACTOR, np.float32)])
    phases: NDArray[np.float32] = padded.reshape(-1, HIGH_BAND_FACTOR).T
    return phases
