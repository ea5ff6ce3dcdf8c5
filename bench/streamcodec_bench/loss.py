"""`bench loss`: what lost packets cost. Our concealment beside libopus' own, on the same seeded
traces of bursts.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

import streamcodec
from streamcodec.errors import ConfigError
from streamcodec.units import Pcm
from streamcodec.wire.redundancy import join

from .codecs import loaded, opus_library, ours
from .coded import int16
from .content import Clip
from .formats import SAMPLE_RATE
from .metrics import figures
from .network import gilbert_elliott
from .quality import aligned

Lost = NDArray[np.bool_]
# PCM [T], rate in bit/s, which packets are lost -> PCM [T] as heard, and the bits that were sent.
Codec = Callable[[Pcm, float, Lost], tuple[Pcm, int]]
PACKET_MS, FRAME = 20, 320  # a packet, in ms and in samples
# No packet is lost before there is something to conceal with; packets behind the clip flush the
# delay of the codec.
LEAD_PACKETS, TAIL_PACKETS = 10, 3

# opus_defines.h
OPUS_APPLICATION_VOIP = 2048
OPUS_SET_BITRATE, OPUS_SET_VBR, OPUS_SET_COMPLEXITY = 4002, 4006, 4010
MAX_OPUS_BYTES = 1275


@dataclasses.dataclass(frozen=True)
class LossRow:
    """Means over the clips. clean, lossy: metric -> figure without and with lost packets. lost:
    their share.
    """

    codec: str
    bitrate_kbps: float
    lost: float
    clean: dict[str, float]
    lossy: dict[str, float]


@dataclasses.dataclass(frozen=True)
class LossPlan:
    """What is measured: at which rates, on which traces of lost packets, by which metrics. `share`
    of packets are lost, 0 to 0.5, in bursts of `burst_ms` in the mean. Raises ConfigError.
    """

    rates_bps: Sequence[float]
    share: float
    burst_ms: float
    metrics: Sequence[str]
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5:
            raise ConfigError(
                f"share of lost packets must be above 0 and at most 0.5, got {self.share:g}"
            )
        if self.burst_ms < PACKET_MS:
            raise ConfigError(
                f"bursts must be at least a packet of {PACKET_MS} ms long, got {self.burst_ms:g} ms"
            )

    def trace(self, samples: int, clip: int) -> Lost:
        """Which packets of a clip of so many samples are lost: the same for every codec."""
        packets = -(-samples // FRAME) + TAIL_PACKETS
        rng = np.random.default_rng([self.seed, clip])
        lost = gilbert_elliott(rng, packets, self.share, self.burst_ms / PACKET_MS)
        lost[:LEAD_PACKETS] = False
        return lost


def measure(clips: Sequence[Clip], codecs: Mapping[str, Codec], plan: LossPlan) -> list[LossRow]:
    """Every codec at every rate, each clip once without and once with lost packets."""
    traces = [plan.trace(len(clip.pcm), number) for number, clip in enumerate(clips)]
    return [
        _row(name, codec, rate, clips, traces, plan.metrics)
        for rate in plan.rates_bps
        for name, codec in codecs.items()
    ]


def codecs_with_loss(model: str | None, redundancy: int) -> dict[str, Codec]:
    """Ours and Opus; with `redundancy` ours once more, each packet with a copy of the one so many
    before it.
    """
    codecs: dict[str, Codec] = {
        "streamcodec": functools.partial(conceal, model=model),
        "opus": opus,
    }
    if redundancy:
        codecs[f"streamcodec, copies {redundancy} back"] = functools.partial(
            recover, model=model, distance=redundancy
        )
    return codecs


def table(rows: Sequence[LossRow], metrics: Sequence[str]) -> str:
    """Rows as Markdown."""
    titles = " | ".join(f"{m} whole | with loss | cost" for m in metrics)
    lines = [f"| codec | kbit/s | lost % | {titles} |", "|---" * (3 + 3 * len(metrics)) + "|"]
    for row in rows:
        figures = " | ".join(
            f"{row.clean[m]:.2f} | {row.lossy[m]:.2f} | {row.clean[m] - row.lossy[m]:.2f}"
            for m in metrics
        )
        lines.append(f"| {row.codec} | {row.bitrate_kbps:.2f} | {100 * row.lost:.1f} | {figures} |")
    return "\n".join(lines)


def _row(
    name: str,
    codec: Codec,
    rate_bps: float,
    clips: Sequence[Clip],
    traces: Sequence[Lost],
    metrics: Sequence[str],
) -> LossRow:
    values: dict[str, dict[str, list[float]]] = {
        kind: {m: [] for m in metrics} for kind in ("clean", "lossy")
    }
    bits = 0
    for clip, lost in zip(clips, traces, strict=True):
        for kind, holes in (("clean", np.zeros_like(lost)), ("lossy", lost)):
            heard, sent_bits = codec(clip.pcm, rate_bps, holes)
            reference, output = aligned(clip.pcm, heard)
            for metric, value in figures(metrics, reference, output).items():
                values[kind][metric].append(value)
        bits += sent_bits
    seconds = sum(len(clip.pcm) for clip in clips) / SAMPLE_RATE
    means = {kind: {m: float(np.nanmean(v)) for m, v in by.items()} for kind, by in values.items()}
    share = float(np.concatenate(traces).mean())
    return LossRow(name, bits / seconds / 1000, share, means["clean"], means["lossy"])


def conceal(pcm: Pcm, bitrate_bps: float, lost: Lost, *, model: str | None) -> tuple[Pcm, int]:
    """Our codec, which conceals what is lost."""
    coded = ours(pcm, bitrate_bps, model, lost)
    return coded.pcm, 8 * coded.payload_bytes


def recover(
    pcm: Pcm, bitrate_bps: float, lost: Lost, *, model: str | None, distance: int
) -> tuple[Pcm, int]:
    """Our codec, its packets with copies of those `distance` before them while packets are lost,
    and without where none is. What is lost is played from its copy, for which the listener waits,
    and concealed where that is lost too.
    """
    encoder = streamcodec.StreamEncoder(
        loaded(model), bitrate_bps=bitrate_bps, copies=bool(lost.any())
    )
    payloads, coarse = encoder.encode(pcm), encoder.copies
    payloads, coarse = payloads + encoder.flush(), coarse + encoder.copies
    arrived: list[bytes | None] = []
    size = 0
    for number, payload in enumerate(payloads):
        saved = number + distance < len(payloads) and not lost[number + distance]
        arrived.append(payload if not lost[number] else coarse[number] if saved else None)
        earlier = coarse[number - distance] if number >= distance else b""
        size += len(join(earlier, distance, payload)) if earlier else len(payload)
    back = streamcodec.decode(
        arrived, streamcodec.StreamDecoder(loaded(model), encoder.config), len(pcm)
    )
    return back[:, 0], 8 * size


def opus(pcm: Pcm, bitrate_bps: float, lost: Lost) -> tuple[Pcm, int]:
    """libopus as in `bench quality`, its decoder told of each missing packet (RFC 6716 packet loss
    concealment, no FEC).
    """
    library = opus_library()
    if library is None:
        raise ConfigError(
            "this PyAV has no libopus of its own, and FFmpeg cannot tell one what is missing: "
            "install PyAV's wheel"
        )
    library.opus_encoder_create.restype = library.opus_decoder_create.restype = ctypes.c_void_p
    error = ctypes.c_int()
    encoder = ctypes.c_void_p(
        library.opus_encoder_create(SAMPLE_RATE, 1, OPUS_APPLICATION_VOIP, ctypes.byref(error))
    )
    decoder = ctypes.c_void_p(library.opus_decoder_create(SAMPLE_RATE, 1, ctypes.byref(error)))
    for request, value in (
        (OPUS_SET_BITRATE, int(bitrate_bps)),
        (OPUS_SET_VBR, 1),
        (OPUS_SET_COMPLEXITY, 10),
    ):
        library.opus_encoder_ctl(encoder, ctypes.c_int(request), ctypes.c_int(value))
    samples = np.zeros(len(lost) * FRAME, np.int16)
    samples[: len(pcm)] = int16(pcm)
    payload = (ctypes.c_ubyte * MAX_OPUS_BYTES)()
    heard = np.zeros_like(samples)
    bits = 0
    for number, hole in enumerate(lost):
        part = slice(number * FRAME, (number + 1) * FRAME)
        size = library.opus_encode(encoder, _pointer(samples[part]), FRAME, payload, MAX_OPUS_BYTES)
        bits += 8 * size if part.start < len(pcm) else 0
        got = library.opus_decode(
            decoder, None if hole else payload, 0 if hole else size, _pointer(heard[part]), FRAME, 0
        )
        if size < 0 or got != FRAME:
            raise ConfigError(f"libopus failed on packet {number}: {size}, {got}")
    library.opus_encoder_destroy(encoder)
    library.opus_decoder_destroy(decoder)
    return heard.astype(np.float32) / np.float32(32768), bits


def _pointer(samples: NDArray[np.int16]) -> ctypes.c_void_p:
    return ctypes.c_void_p(samples.ctypes.data)
