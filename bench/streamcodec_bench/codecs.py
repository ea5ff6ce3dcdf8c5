"""The codecs that `bench quality` compares: ours and its peers, each from PCM to payload bytes and
back at a given rate.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

import streamcodec
from streamcodec.coding.model import CodecModel, load_model
from streamcodec.errors import ConfigError
from streamcodec.units import Pcm

SAMPLE_RATE = 16_000
OPUS_FRAME_MS = 20
LC3_FRAME_MS = 10
LOW_PASS_HZ = 3_500


def ours(
    pcm: Pcm,
    bitrate_bps: float,
    model_name: str | None,
    lost: NDArray[np.bool_] | None = None,
    engine: str = "auto",
) -> Coded:
    """Our codec through its real bitstream, packet by packet, as in a live stream. `lost`: which
    packets do not arrive; at least as long as there are packets.
    """
    model = loaded(model_name, engine)
    encoder = streamcodec.StreamEncoder(model, bitrate_bps=bitrate_bps)
    began = time.process_time()
    payloads = streamcodec.encode(pcm, encoder)
    encoded = time.process_time()
    arrived = (
        payloads
        if lost is None
        else [None if hole else payload for payload, hole in zip(payloads, lost, strict=False)]
    )
    back = streamcodec.decode(arrived, streamcodec.StreamDecoder(model, encoder.config), len(pcm))
    return Coded(
        back[:, 0], sum(map(len, payloads)), encoded - began, time.process_time() - encoded
    )


def opus(pcm: Pcm, bitrate_bps: float, application: str = "voip") -> Coded:
    """libopus: complexity 10, 20 ms, VBR, wideband at most; application: voip, or audio for music.
    PyAV's build carries neither LACE nor NoLACE.
    """
    import av

    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE, "mono", "s16"
    encoder.bit_rate = int(bitrate_bps)
    encoder.time_base = Fraction(1, SAMPLE_RATE)
    encoder.options = {
        "application": application,
        "vbr": "on",
        "compression_level": "10",
        "frame_duration": str(OPUS_FRAME_MS),
    }
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = SAMPLE_RATE, "mono"
    size = SAMPLE_RATE * OPUS_FRAME_MS // 1000
    samples = int16(np.concatenate([pcm, np.zeros(2 * size, np.float32)]))
    packets, began = [], time.process_time()
    for start in range(0, len(samples) - size + 1, size):
        frame = av.AudioFrame.from_ndarray(
            samples[None, start : start + size], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    encoded = time.process_time()
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    ended = time.process_time()
    out, rate = _joined(decoded)
    if rate != SAMPLE_RATE:
        out = soxr.resample(out, rate, SAMPLE_RATE)
    return Coded(out, sum(p.size for p in packets), encoded - began, ended - encoded)


def lc3(pcm: Pcm, bitrate_bps: float) -> Coded:
    """liblc3, 10 ms frames, constant rate."""
    import lc3 as liblc3

    encoder = liblc3.Encoder(LC3_FRAME_MS * 1000, SAMPLE_RATE)
    decoder = liblc3.Decoder(LC3_FRAME_MS * 1000, SAMPLE_RATE)
    size, frame_bytes = encoder.get_frame_samples(), encoder.get_frame_bytes(int(bitrate_bps))
    samples = np.concatenate([pcm, np.zeros(2 * size, np.float32)])
    began = time.process_time()
    payloads = [
        encoder.encode(samples[s : s + size].tolist(), frame_bytes)
        for s in range(0, len(samples) - size + 1, size)
    ]
    encoded = time.process_time()
    decoded = [np.array(decoder.decode(payload), np.float32) for payload in payloads]
    ended = time.process_time()
    return Coded(np.concatenate(decoded), sum(map(len, payloads)), encoded - began, ended - encoded)


def codec2(pcm: Pcm, bitrate_bps: float) -> Coded:
    """libcodec2 at 8 kHz: a narrowband codec, for scale."""
    import pycodec2

    coder = pycodec2.Codec2(int(bitrate_bps))
    size = coder.samples_per_frame()
    narrow = int16(soxr.resample(pcm, SAMPLE_RATE, 8_000))
    narrow = np.concatenate([narrow, np.zeros(2 * size, np.int16)])
    began = time.process_time()
    payloads = [coder.encode(narrow[s : s + size]) for s in range(0, len(narrow) - size + 1, size)]
    encoded = time.process_time()
    decoded = (
        np.concatenate([coder.decode(payload) for payload in payloads]).astype(np.float32) / 32768
    )
    ended = time.process_time()
    return Coded(
        soxr.resample(decoded, 8_000, SAMPLE_RATE),
        sum(map(len, payloads)),
        encoded - began,
        ended - encoded,
    )


def untouched(pcm: Pcm, bitrate_bps: float) -> Coded:
    """The reference itself: the figures of a perfect codec."""
    return Coded(pcm, 0, 0.0, 0.0)


def low_passed(pcm: Pcm, bitrate_bps: float) -> Coded:
    """The reference without the band above LOW_PASS_HZ: a metric that scores it like the reference
    does not judge half of the band.
    """
    from scipy.signal import butter, sosfiltfilt

    sos = butter(10, LOW_PASS_HZ, fs=SAMPLE_RATE, output="sos")
    return Coded(sosfiltfilt(sos, pcm).astype(np.float32), 0, 0.0, 0.0)


def all_codecs(model: str | None) -> dict[str, PeerCodec]:
    """Every codec by its name."""
    codecs = (
        PeerCodec("streamcodec", functools.partial(ours, model_name=model), least_bps=1_000),
        PeerCodec(
            "streamcodec-torch",
            functools.partial(ours, model_name=model, engine="torch"),
            least_bps=1_000,
        ),
        PeerCodec("opus", opus, least_bps=6_000),
        PeerCodec("amr-wb", amr_wb, fixed_bps=AMR_WB_MODES_BPS[:5]),
        PeerCodec("speex", speex, fixed_bps=tuple(SPEEX_QUALITIES_BPS)),
        PeerCodec("lc3", lc3, least_bps=16_000),
        PeerCodec("codec2", codec2, fixed_bps=(3_200,)),
        PeerCodec("reference", untouched, fixed_bps=()),
        PeerCodec("low-pass 3.5 kHz", low_passed, fixed_bps=()),
    )
    return {codec.name: codec for codec in codecs}


def opus_version() -> str:
    """The version of the loaded libopus, and where it comes from."""
    import av

    library = opus_library()
    if library is None:
        return f"libopus of PyAV {av.__version__}"
    version = library.opus_get_version_string
    version.restype = ctypes.c_char_p
    return f"{version().decode()} in PyAV {av.__version__}"


@functools.cache
def opus_library() -> ctypes.CDLL | None:
    """The libopus inside PyAV's wheel, None where PyAV was built against another."""
    import av

    paths = list((Path(av.__file__).parents[1] / "av.libs").glob("libopus*"))
    return ctypes.CDLL(str(paths[0])) if paths else None


@functools.cache
def loaded(name: str | None, engine: str = "auto") -> CodecModel:
    """The model; every worker process loads it once."""
    return load_model(name, "cpu", engine)


def _joined(frames: Sequence[Any]) -> tuple[Pcm, int]:
    parts, rate = [], SAMPLE_RATE
    for frame in frames:
        samples = frame.to_ndarray()
        rate = frame.sample_rate
        parts.append(
            samples.reshape(-1).astype(np.float32) / (32768 if samples.dtype == np.int16 else 1)
        )
    return np.concatenate(parts), rate
