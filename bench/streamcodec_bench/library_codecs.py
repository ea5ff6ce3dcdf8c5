"""Codecs in C libraries of the system, which Python has no package for: AMR-WB and Speex, at
SAMPLE_RATE.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import time

import numpy as np

from streamcodec.errors import ConfigError
from streamcodec.units import Pcm

from .coded import Coded, int16
from .formats import SAMPLE_RATE

AMR_FRAME_MS = 20
AMR_WB_MODES_BPS = (
    6_600.0,
    8_850.0,
    12_650.0,
    14_250.0,
    15_850.0,
    18_250.0,
    19_850.0,
    23_050.0,
    23_850.0,
)
SPEEX_FRAME_MS = 20
SPEEX_WIDEBAND = 1
SPEEX_SET_QUALITY, SPEEX_SET_COMPLEXITY = 4, 16
# of wideband at a constant rate, by Speex' manual
SPEEX_QUALITIES_BPS = {5_750.0: 1, 9_800.0: 3, 16_800.0: 5}
SPEEX_LIBRARY = ("speex", "libspeex1")
AMR_LIBRARIES = (("vo-amrwbenc", "libvo-amrwbenc0"), ("opencore-amrwb", "libopencore-amrwb0"))


def amr_wb(pcm: Pcm, bitrate_bps: float) -> Coded:
    """3GPP AMR-WB (ITU-T G.722.2) through Debian's libvo-amrwbenc0 and libopencore-amrwb0; payload
    without the byte of header.
    """
    encoder, decoder = (_library(name, package) for name, package in AMR_LIBRARIES)
    mode, size = AMR_WB_MODES_BPS.index(bitrate_bps), SAMPLE_RATE * AMR_FRAME_MS // 1000
    samples = int16(np.concatenate([pcm, np.zeros(2 * size, np.float32)]))
    encoder.E_IF_init.restype = decoder.D_IF_init.restype = ctypes.c_void_p
    coder = ctypes.c_void_p(encoder.E_IF_init())
    buffer, payloads, began = (ctypes.c_ubyte * 64)(), [], time.process_time()
    for start in range(0, len(samples) - size + 1, size):
        frame = np.ascontiguousarray(samples[start : start + size])
        used = encoder.E_IF_encode(
            coder,
            ctypes.c_short(mode),
            ctypes.c_void_p(frame.ctypes.data),
            buffer,
            ctypes.c_short(0),
        )
        payloads.append(bytes(buffer[:used]))
    encoder.E_IF_exit(coder)
    encoded = time.process_time()
    coder = ctypes.c_void_p(decoder.D_IF_init())
    decoded = np.zeros((len(payloads), size), np.int16)
    for payload, frame in zip(payloads, decoded, strict=True):
        decoder.D_IF_decode(coder, payload, ctypes.c_void_p(frame.ctypes.data), 0)
    decoder.D_IF_exit(coder)
    ended = time.process_time()
    pcm_back = decoded.reshape(-1).astype(np.float32) / np.float32(32768)
    return Coded(
        pcm_back, sum(len(payload) - 1 for payload in payloads), encoded - began, ended - encoded
    )


class _SpeexBits(ctypes.Structure):
    """SpeexBits of speex_bits.h."""

    _fields_ = (
        ("chars", ctypes.c_void_p),
        *(
            (name, ctypes.c_int)
            for name in (
                "nb_bits",
                "char_ptr",
                "bit_ptr",
                "owner",
                "overflow",
                "buf_size",
                "reserved",
            )
        ),
        ("reserved_pointer", ctypes.c_void_p),
    )


def speex(pcm: Pcm, bitrate_bps: float) -> Coded:
    """libspeex wideband at a constant rate, complexity 10, through Debian's libspeex1."""
    library = _library(*SPEEX_LIBRARY)
    for name in ("speex_lib_get_mode", "speex_encoder_init", "speex_decoder_init"):
        getattr(library, name).restype = ctypes.c_void_p
    mode = ctypes.c_void_p(library.speex_lib_get_mode(SPEEX_WIDEBAND))
    size, bits = SAMPLE_RATE * SPEEX_FRAME_MS // 1000, _SpeexBits()
    library.speex_bits_init(ctypes.byref(bits))
    coder = ctypes.c_void_p(library.speex_encoder_init(mode))
    for request, value in (
        (SPEEX_SET_QUALITY, SPEEX_QUALITIES_BPS[bitrate_bps]),
        (SPEEX_SET_COMPLEXITY, 10),
    ):
        library.speex_encoder_ctl(coder, request, ctypes.byref(ctypes.c_int(value)))
    samples = int16(np.concatenate([pcm, np.zeros(2 * size, np.float32)]))
    buffer, payloads, began = ctypes.create_string_buffer(256), [], time.process_time()
    for start in range(0, len(samples) - size + 1, size):
        frame = samples[start : start + size].copy()
        library.speex_bits_reset(ctypes.byref(bits))
        library.speex_encode_int(coder, ctypes.c_void_p(frame.ctypes.data), ctypes.byref(bits))
        payloads.append(
            buffer.raw[: library.speex_bits_write(ctypes.byref(bits), buffer, len(buffer))]
        )
    library.speex_encoder_destroy(coder)
    encoded = time.process_time()
    coder = ctypes.c_void_p(library.speex_decoder_init(mode))
    decoded = np.zeros((len(payloads), size), np.int16)
    for payload, frame in zip(payloads, decoded, strict=True):
        library.speex_bits_read_from(ctypes.byref(bits), payload, len(payload))
        library.speex_decode_int(coder, ctypes.byref(bits), ctypes.c_void_p(frame.ctypes.data))
    library.speex_decoder_destroy(coder)
    library.speex_bits_destroy(ctypes.byref(bits))
    ended = time.process_time()
    pcm_back = decoded.reshape(-1).astype(np.float32) / np.float32(32768)
    return Coded(pcm_back, sum(map(len, payloads)), encoded - began, ended - encoded)


@functools.cache
def _library(name: str, package: str) -> ctypes.CDLL:
    """Raises ConfigError where the system has no such library."""
    found = ctypes.util.find_library(name)
    if found is None:
        raise ConfigError(f"this codec needs {name}: on Debian and Ubuntu, apt install {package}")
    return ctypes.CDLL(found)
