"""The high band in C: what `NumpyHighBand` does, in a tenth of its time."""

from __future__ import annotations

import ctypes
import struct
import weakref

import numpy as np
from numpy.typing import NDArray

from ..native.library import Buffer, address_of, required_library
from ..tables import HIGH_BAND_FACTOR, HIGH_BAND_FFT, HIGH_BAND_STAGES, HighBandTables
from ..units import Pcm
from .band_levels import LARGEST_STEP_DB, LEAST_WEIGHT, LOUD_DB, QUIET_DB
from .high_band import FADE_DB, FAINTEST, NumpyHighBand

LANES = 8  # floats that the library takes at once


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
        self.packet, self.lag, self._core = reference.packet, reference.lag, packet
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
        self._floats = self._library.sc_high_band_state_bytes(self._opened) // 4

    def initial_splitter(self) -> Buffer:
        return Buffer.of(np.zeros(self._floats, np.float32))

    def initial_joiner(self) -> Buffer:
        return self.initial_splitter()

    def split(self, pcm: Pcm, state: Buffer) -> tuple[Pcm, bytes, Buffer]:
        """As `HighBand.split`."""
        pcm = np.ascontiguousarray(pcm, np.float32)
        core, told = np.empty(self._core, np.float32), np.empty(HIGH_BAND_STAGES, np.uint8)
        after = Buffer.of(np.empty_like(state.array))
        arrays = map(address_of, (pcm, core, told))
        self._library.sc_high_band_split(self._opened, state.address, after.address, *arrays)
        return core, told.tobytes(), after

    def join(self, core: Pcm, told: bytes | None, lost: bool, state: Buffer) -> tuple[Pcm, Buffer]:
        """As `HighBand.join`."""
        core = np.ascontiguousarray(core, np.float32)
        pcm, after = np.empty(self.packet, np.float32), Buffer.of(np.empty_like(state.array))
        states = (state.address, after.address)
        self._library.sc_high_band_join(
            self._opened, *states, address_of(core), told, lost, address_of(pcm)
        )
        return pcm, after


def packed_high_band(band: NumpyHighBand) -> bytes:
    """What sc_high_band_open reads (native/src/high_band.h): the head, then its arrays in that
    order, little-endian, of four bytes a number.
    """
    tables = band.tables
    low_pass, phases = _reversed(tables.low_pass[None]), _reversed(_phases(tables.low_pass))
    sizes = (band.packet, band.lag, low_pass.shape[1], phases.shape[1], *band.noise.T.shape)
    judged = (LARGEST_STEP_DB, FADE_DB, LOUD_DB, QUIET_DB, LEAST_WEIGHT, band.unit)
    head = struct.pack("<6i8f", *sizes, tables.decay[0], FAINTEST, *judged)
    turns = np.exp(-2j * np.pi * np.arange(HIGH_BAND_FFT // 2) / HIGH_BAND_FFT)
    noise = np.concatenate([band.noise, band.noise[: len(band.window) * 2 // 3]]).T
    arrays = (
        *(low_pass, phases, band.window, band.rise),
        np.stack([turns.real, turns.imag], 1),
        *(tables.mean, tables.codebooks, noise),
    )
    floats = [np.ascontiguousarray(array, "<f4").tobytes() for array in arrays]
    return head + tables.edges.astype("<i4").tobytes() + b"".join(floats)


def _phases(low_pass: NDArray[np.float32]) -> NDArray[np.float32]:
    """The filter as one of each sample between two of the core's, at the core's power."""
    padded = np.concatenate([low_pass, np.zeros(-len(low_pass) % HIGH_BAND_FACTOR, np.float32)])
    phases: NDArray[np.float32] = padded.reshape(-1, HIGH_BAND_FACTOR).T * HIGH_BAND_FACTOR
    return phases


def _reversed(filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, taps], the last tap first, with zeros before it up to whole lanes."""
    room = np.zeros((len(filters), -filters.shape[1] % LANES), np.float32)
    return np.concatenate([room, filters[:, ::-1]], 1)
