"""The codecs that `bench quality` compares: ours and its peers, each from PCM to payload bytes and
back at a given rate.
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

import streamcodec
from streamcodec.coding.model import CodecModel, load_model
from streamcodec.coding.stream import DESCRIPTION_BPS
from streamcodec.units import Pcm

from .coded import Coded, PeerCodec, int16
from .formats import MONO, SAMPLE_RATE, Format
from .library_codecs import AMR_WB_MODES_BPS, SPEEX_QUALITIES_BPS, amr_wb, speex

OURS_BPS = (1_000, 31_000)  # of a channel of the core
OPUS_FRAME_MS = 20
LC3_FRAME_MS = 10
LOW_PASS_HZ = 3_500


def ours(
    pcm: Pcm,
    bitrate_bps: float,
    model_name: str | None,
    lost: NDArray[np.bool_] | None = None,
    engine: str = "auto",
    sample_rate: int = SAMPLE_RATE,
    full_band: bool = False,
    joint_stereo: bool = True,
) -> Coded:
    """Our codec through its real bitstream, packet by packet, as in a live stream. pcm [T] or
    [T, C] at `sample_rate` Hz. `lost`: which packets do not arrive; at least as long as there are
    packets. Without `full_band` what is above the core's band is silent; without `joint_stereo` two
    channels are coded each on its own.
    """
    model = loaded(model_name, engine)
    encoder = streamcodec.StreamEncoder(
        model,
        bitrate_bps=bitrate_bps,
        sample_rate=sample_rate,
        channels=_channels(pcm),
        full_band=full_band,
        joint_stereo=joint_stereo,
    )
    began = time.process_time()
    payloads = streamcodec.encode(pcm, encoder)
    encoded = time.process_time()
    arrived = (
        payloads
        if lost is None
        else [None if hole else payload for payload, hole in zip(payloads, lost, strict=False)]
    )
    decoder = streamcodec.StreamDecoder(model, encoder.config, sample_rate=sample_rate)
    back = streamcodec.decode(arrived, decoder, len(pcm))
    ended = time.process_time()
    return Coded(
        back.reshape(-1, *pcm.shape[1:]),
        sum(map(len, payloads)),
        encoded - began,
        ended - encoded,
    )


def opus(
    pcm: Pcm, bitrate_bps: float, application: str = "voip", sample_rate: int = SAMPLE_RATE
) -> Coded:
    """libopus: complexity 10, 20 ms, VBR, all of the band that pcm [T] or [T, 2] at `sample_rate`
    Hz has room for; application: voip, or audio for music. PyAV's build carries neither LACE nor
    NoLACE.
    """
    import av

    channels = _channels(pcm)
    layout = "stereo" if channels == 2 else "mono"

    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = sample_rate, layout, "s16"
    encoder.bit_rate = int(bitrate_bps)
    encoder.time_base = Fraction(1, sample_rate)
    encoder.options = {
        "application": application,
        "vbr": "on",
        "compression_level": "10",
        "frame_duration": str(OPUS_FRAME_MS),
    }
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = sample_rate, layout
    size = sample_rate * OPUS_FRAME_MS // 1000
    padding = np.zeros((2 * size, *pcm.shape[1:]), np.float32)
    samples = int16(np.concatenate([pcm, padding]))
    packets, began = [], time.process_time()
    for start in range(0, len(samples) - size + 1, size):
        interleaved = samples[start : start + size].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=layout)
        frame.sample_rate, frame.pts = sample_rate, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    encoded = time.process_time()
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    ended = time.process_time()
    out, rate = _joined(decoded)
    out = out.reshape(-1, *pcm.shape[1:])
    if rate != sample_rate:
        out = soxr.resample(out, rate, sample_rate)
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


def low_passed(pcm: Pcm, bitrate_bps: float, sample_rate: int = SAMPLE_RATE) -> Coded:
    """The reference without the band above LOW_PASS_HZ: a metric that scores it like the reference
    does not judge half of the band.
    """
    from scipy.signal import butter, sosfiltfilt

    sos = butter(10, LOW_PASS_HZ, fs=sample_rate, output="sos")
    return Coded(sosfiltfilt(sos, pcm, axis=0).astype(np.float32), 0, 0.0, 0.0)


def core_band(pcm: Pcm, bitrate_bps: float, sample_rate: int) -> Coded:
    """The reference at SAMPLE_RATE and back: the best that a codec of that rate could do."""
    narrow = soxr.resample(pcm, sample_rate, SAMPLE_RATE)
    return Coded(soxr.resample(narrow, SAMPLE_RATE, sample_rate), 0, 0.0, 0.0)


def averaged(pcm: Pcm, bitrate_bps: float) -> Coded:
    """The mean of all channels [T, C] in each of them: a metric that scores it like the reference
    does not judge the stereo image. [T] as it is.
    """
    mean = pcm.mean(axis=1, keepdims=True) if pcm.ndim == 2 else pcm
    return Coded(np.broadcast_to(mean, pcm.shape).copy(), 0, 0.0, 0.0)


def all_codecs(model: str | None, form: Format = MONO) -> dict[str, PeerCodec]:
    """Every codec that works in this format, by its name."""
    rate = form.sample_rate
    own = functools.partial(ours, model_name=model, sample_rate=rate)
    least, most = OURS_BPS
    high = DESCRIPTION_BPS if form.full_band else 0
    peer = functools.partial(opus, sample_rate=rate)
    codecs = [
        PeerCodec(
            "streamcodec",
            functools.partial(own, full_band=form.full_band),
            least_bps=least + high,
            most_bps=most + high,
        ),
        PeerCodec(
            "streamcodec-torch",
            functools.partial(own, full_band=form.full_band, engine="torch"),
            least_bps=least + high,
            most_bps=most + high,
        ),
        PeerCodec("opus", peer, least_bps=6_000, needs="av"),
        PeerCodec(
            "opus-audio", functools.partial(peer, application="audio"), least_bps=6_000, needs="av"
        ),
    ]
    if form.full_band:
        codecs.append(PeerCodec("streamcodec-core", own, least_bps=least, most_bps=most))
    if form == MONO:
        codecs += [
            PeerCodec("amr-wb", amr_wb, fixed_bps=AMR_WB_MODES_BPS[:5]),
            PeerCodec("speex", speex, fixed_bps=tuple(SPEEX_QUALITIES_BPS)),
            PeerCodec("lc3", lc3, least_bps=16_000, needs="lc3"),
            PeerCodec("codec2", codec2, fixed_bps=(3_200,), needs="pycodec2"),
        ]
    codecs.append(PeerCodec("reference", untouched, fixed_bps=()))
    if form.full_band:
        band = functools.partial(core_band, sample_rate=rate)
        codecs.append(PeerCodec("low-pass 8 kHz", band, fixed_bps=()))
    low = functools.partial(low_passed, sample_rate=rate)
    codecs.append(PeerCodec("low-pass 3.5 kHz", low, fixed_bps=()))
    if form.stereo:
        apart = functools.partial(own, full_band=form.full_band, joint_stereo=False)
        codecs += [
            PeerCodec("two channels apart", apart, least_bps=least + high, most_bps=most + high),
            PeerCodec("mean of channels", averaged, fixed_bps=()),
        ]
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


def _channels(pcm: Pcm) -> int:
    return 1 if pcm.ndim == 1 else int(pcm.shape[1])


def _joined(frames: Sequence[Any]) -> tuple[Pcm, int]:
    """Samples with interleaved channels [T * C], and their rate."""
    parts, rate = [], SAMPLE_RATE
    for frame in frames:
        samples = frame.to_ndarray()
        rate = frame.sample_rate
        parts.append(
            samples.reshape(-1).astype(np.float32) / (32768 if samples.dtype == np.int16 else 1)
        )
    return np.concatenate(parts), rate
