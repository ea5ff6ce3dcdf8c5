"""The C library of native/: found, loaded, and its functions typed. It is built beside
this file.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, Structure, c_char_p, c_double, c_int, c_uint64, c_void_p
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .where import FILE

ALIGNMENT = 64
# What functions return below 0: native/src/streamcodec.h.
BAD_FORMAT, UNSUPPORTED, NO_MEMORY, NO_VARIANT = -1, -2, -3, -4
OUT_OF_RANGE, NO_SYMBOL, LONG_ESCAPE, TRAILING_BYTES = -5, -6, -7, -8


class WaveformLayer(Structure):
    """ScWaveform of native/src/streamcodec.h."""

    _fields_ = tuple((name, c_void_p) for name in ("coded", "loudness", "q", "steps"))


# name -> type of the result, types of the arguments; arrays are addresses.
_FUNCTIONS = {
    "sc_variant": (c_char_p, (c_int,)),
    "sc_model_open": (c_int, (c_void_p, c_uint64, c_char_p, POINTER(c_void_p))),
    "sc_model_close": (None, (c_void_p,)),
    "sc_model_packet": (c_int, (c_void_p,)),
    "sc_model_latent": (c_int, (c_void_p,)),
    "sc_model_levels": (c_int, (c_void_p,)),
    "sc_model_base_levels": (c_int, (c_void_p,)),
    "sc_model_waveform_bins": (c_int, (c_void_p,)),
    "sc_model_coefficients": (c_int, (c_void_p,)),
    "sc_encoder_state_bytes": (c_uint64, (c_void_p,)),
    "sc_decoder_state_bytes": (c_uint64, (c_void_p,)),
    "sc_workspace_bytes": (c_uint64, (c_void_p, c_int)),
    "sc_encoder_state_init": (None, (c_void_p, c_void_p)),
    "sc_decoder_state_init": (None, (c_void_p, c_void_p)),
    "sc_encode": (None, (c_void_p, c_int, *[c_void_p] * 7)),
    "sc_residual": (None, (c_void_p, c_int, *[c_void_p] * 7)),
    "sc_decode": (None, (c_void_p, c_int, *[c_void_p] * 10)),
    "sc_multiply_int8": (c_int, (c_char_p, c_void_p, c_void_p, c_int, c_int, c_int, c_void_p)),
    "sc_bitstream_open_packed": (c_int, (c_char_p, c_uint64, c_char_p, POINTER(c_void_p))),
    "sc_bitstream_open_joint": (
        c_int,
        (c_char_p, c_uint64, c_char_p, c_uint64, c_char_p, POINTER(c_void_p)),
    ),
    "sc_bitstream_close": (None, (c_void_p,)),
    "sc_bitstream_encode": (c_int, (*[c_void_p], *[c_int] * 3, *[c_void_p] * 4, c_int)),
    "sc_bitstream_encode_waveform": (
        c_int,
        (c_void_p, *[c_int] * 4, *[c_void_p] * 6, c_int),
    ),
    "sc_bitstream_quantise": (
        c_int,
        (c_void_p, c_int, c_int, c_void_p, c_void_p, c_double, c_void_p),
    ),
    "sc_bitstream_serialize": (c_int, (c_void_p, *[c_int] * 3, *[c_void_p] * 4, c_int)),
    "sc_bitstream_parse": (c_int, (c_void_p, c_char_p, *[c_int] * 3, *[c_void_p] * 5)),
    "sc_payload_encode": (
        c_int,
        (*[c_void_p] * 2, *[c_int] * 4, *[c_void_p] * 4, c_int, c_void_p),
    ),
    "sc_payload_encode_followed": (
        c_int,
        (*[c_void_p] * 2, *[c_int] * 4, *[c_void_p] * 7, c_int, c_void_p),
    ),
    "sc_payload_decode": (
        c_int,
        (*[c_void_p] * 2, c_char_p, *[c_int] * 4, *[c_void_p] * 6),
    ),
    "sc_high_band_open": (c_int, (c_char_p, c_uint64, c_char_p, POINTER(c_void_p))),
    "sc_high_band_close": (None, (c_void_p,)),
    "sc_high_band_state_bytes": (c_uint64, (c_void_p,)),
    "sc_high_band_split": (c_int, (*[c_void_p] * 3, c_char_p, *[c_void_p] * 2)),
    "sc_high_band_join": (
        None,
        (*[c_void_p] * 3, c_char_p, c_int, c_char_p, c_int, c_void_p),
    ),
}


@functools.cache
def library() -> ctypes.CDLL | None:
    """None where it was not built, or cannot be loaded."""
    try:
        loaded = ctypes.CDLL(str(FILE))
    except OSError:
        return None
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def required_library() -> ctypes.CDLL:
    """Raises ModelError, saying what to do, where there is none."""
    found = library()
    if found is None:
        raise ModelError(
            f"the native engine is not built ({FILE.name} is missing or cannot be loaded): "
            "install a C compiler, or pip install ziglang, and install streamcodec again; "
            "or take --engine torch"
        )
    return found


def address_of(array: Any) -> int:
    """Of a NumPy array, which must be contiguous, not empty, and outlive what reads it."""
    if array.flags.writeable:  # a quarter of the time of the other way
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    address: int = array.__array_interface__["data"][0]
    return address


class Buffer(NamedTuple):
    """An array that C reads and writes, and its address: to find that out costs as much as a call
    into the library, so who uses memory again keeps it.
    """

    array: NDArray[Any]
    address: int

    @classmethod
    def of(cls, array: NDArray[Any]) -> Buffer:
        """`array` must be contiguous and not empty."""
        return cls(array, address_of(array))


def aligned(size: int) -> NDArray[np.uint8]:
    """`size` bytes of memory that begin at a multiple of ALIGNMENT."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    return memory[-address_of(memory) % ALIGNMENT :][:size]


def variants() -> list[str]:
    """Instruction sets that the library has and this processor runs, best first."""
    found = library()
    names: list[str] = []
    while found is not None and (name := found.sc_variant(len(names))) is not None:
        names.append(name.decode())
    return names
