"""Other codecs to measure beside ours in the same run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OPUS_FRAME_MS = 20


class Coded(NamedTuple):
    """pcm [T] as decoded, not aligned; payload_bytes without any container; seconds of CPU time spent."""

    pcm: NDArray[np.float32]
    payload_bytes: int
    encode_s: float
    decode_s: float


def opus_version() -> str:
    import av

    return f"libopus through PyAV {av.__version__}"


def opus(pcm: NDArray[np.float32], sample_rate: int, bitrate_bps: float) -> Coded:
    """libopus: VOIP, complexity 10, 20 ms, constrained by nothing (VBR). pcm [T] at 16 kHz: wideband at most."""
    import av

    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = sample_rate, "mono", "s16"
    encoder.bit_rate = int(bitrate_bps)
    encoder.time_base = Fraction(1, sample_rate)
    encoder.options = {"application": "voip", "vbr": "on", "compression_level": "10", "frame_duration": str(OPUS_FRAME_MS)}
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = sample_rate, "mono"
    size = sample_rate * OPUS_FRAME_MS // 1000
    samples = (np.concatenate([pcm, np.zeros(2 * size, np.float32)]) * 32767).clip(-32768, 32767).astype(np.int16)
    packets, began = [], time.process_time()
    for start in range(0, len(samples) - size + 1, size):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + size], format="s16", layout="mono")
        frame.sample_rate, frame.pts = sample_rate, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    encoded = time.process_time()
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    ended = time.process_time()
    out, rate = _joined(decoded)
    if rate != sample_rate:
        import soxr

        out = soxr.resample(out, rate, sample_rate)
    return Coded(out, sum(p.size for p in packets), encoded - began, ended - encoded)


def _joined(frames: Sequence[Any]) -> tuple[NDArray[np.float32], int]:
    parts, rate = [], 48_000
    for frame in frames:
        samples = frame.to_ndarray()
        rate = frame.sample_rate
        parts.append(samples.reshape(-1).astype(np.float32) / (32768 if samples.dtype == np.int16 else 1))
    return np.concatenate(parts), rate
