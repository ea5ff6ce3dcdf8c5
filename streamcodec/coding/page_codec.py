"""A model as the browser page fetches it: tables and packed weights in as few bytes as sound the
same. Needs no PyTorch.

Packed weights are 6 MB a network. Of their float16 layers most travel as int8 with a scale for each
output, the others with fewer bits; gzip takes out what repeats. What only the waveform layer
needs, a network of its own and its prior, is a second file, for whoever meets such a stream. Tables
of the high band and of joint stereo, which other models may lack, are a third.

gzip takes all of the time. Its quickest level is done within 0.2 s, the best one takes 3 s on two
cores and saves 2 %: that can be had later (`smallest`).
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcodec_models import catalogue
from streamcodec_models.packed_layout import ALIGNMENT, PANEL, HalfLayer, packed_network, quantised

from ..errors import ModelError
from ..tables import HIGH_BAND_FACTOR, HIGH_BAND_FFT, EntropyTables
from .high_band import NOISE_DB, NumpyHighBand
from .native_high_band import packed_high_band
from .packed_tables import packed_joint_tables, packed_tables

MAGIC = b"SCPAGE\0\1"
TABLES_MAGIC = b"SCTABL\0\1"
# Rounding these to int8 costs .03 in PESQ at 6 kbit/s; the others' costs nothing that was measured.
# inverse_dft is no weight, and must stay exact.
SENSITIVE = ("encoder_in", "from_latent", "skip_out")
EXACT = ("inverse_dft",)
MANTISSA_BITS = 6  # that sensitive layers keep of 10
PRIOR_WEIGHTS = ("first_weight", "second_weight", "last_weight")


QUICKEST, BEST = 1, 9  # levels of gzip


@dataclasses.dataclass(frozen=True)
class PageCodec:
    """Files for the page. base: all that levels without the waveform layer need. layered: what
    those with it need besides; None where one network does for both. tables: what full-band streams
    and joint stereo need; None for a model with neither.
    """

    base: bytes
    layered: bytes | None
    tables: bytes | None

    @property
    def files(self) -> dict[str, bytes]:
        """By name; empty where there is none."""
        return {name: file or b"" for name, file in vars(self).items()}

    def smallest(self) -> PageCodec:
        """The same in as few bytes as gzip can, in seconds. Other threads run meanwhile."""
        return PageCodec(**{name: file and _smallest(file) for name, file in vars(self).items()})


def page_codec(model: str | Path | None = None) -> PageCodec:
    """Of a shipped model or a folder. Raises ModelError, also where it has no packed weights."""
    folder = catalogue.folder_of(model)
    described = catalogue.describe(folder)
    path = folder / catalogue.packed_file("mixed")
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise ModelError(f"a page needs {path}: {error.strerror}") from error
    network = packed_network(packed)
    two = len(packed) > network.bytes
    tables = _without_prior(described.tables) if two else described.tables
    first, second = packed[: network.bytes], packed[network.bytes :]
    with ThreadPoolExecutor(2) as threads:  # gzip lets others run
        base = threads.submit(_file, described, tables, first, network.halves)
        layered = _file(described, described.tables, second, network.halves) if two else None
        return PageCodec(base.result(), layered, _tables_file(folder, described))


def _file(
    described: catalogue.Description,
    tables: EntropyTables,
    weights: bytes,
    halves: list[HalfLayer],
) -> bytes:
    """Magic, length of the head (uint32), head (JSON), tables, the weights' parts one behind the
    other; both begin at multiples of 64. A part of [at, bytes] is copied to byte `at` of the packed
    weights; one of [at, inputs, outputs] is a scale (float32) for each output and int8 weights as
    float16 ones would lie there.
    """
    config, packed = described.config, packed_tables(tables)
    parts, pieces = _parts(np.frombuffer(weights, np.uint8), halves)
    head = {
        "hash": described.hash,
        "sampleRate": config.sample_rate,
        "packetSamples": config.hop * config.frames_per_packet,
        "overlap": config.overlap,
        "baseLevels": config.base_levels,
        "levelBitratesBps": described.level_bitrates_bps,
        "tablesBytes": len(packed),
        "weightsBytes": len(weights),
        "parts": parts,
    }
    begin = _aligned(_begin(MAGIC, head))
    return gzip.compress(begin + _aligned(packed) + b"".join(pieces), QUICKEST, mtime=0)


def _tables_file(folder: Path, described: catalogue.Description) -> bytes | None:
    """Magic, length of the head (uint32), head (JSON), tables of the high band and their noise,
    those of joint stereo; each begins at a multiple of 64. The head says of both how long they are
    and their digest, and nothing of what is not there.
    """
    head: dict[str, dict[str, Any]] = {}
    pieces = []
    if (found := catalogue.high_band(folder)) is not None:
        config, (high, digest) = described.config, found
        try:
            band = NumpyHighBand(high, config.hop * config.frames_per_packet, config.overlap)
        except ValueError as error:
            raise ModelError(f"cannot use {folder / catalogue.HIGH_BAND_FILE}: {error}") from error
        noise = high.noise.astype(np.int8)
        # Its bands take 1.6 MB, and a page makes them of the noise.
        repeated = band.segment
        tables = packed_high_band(band)[: -4 * len(high.mean) * (len(noise) + repeated)]
        pieces += [tables, noise.tobytes()]
        head["highBand"] = {
            "hash": digest,
            "bytes": len(tables),
            "lag": band.lag,
            "widening": HIGH_BAND_FACTOR,
            "noise": {
                "count": len(noise),
                "repeated": repeated,
                "level": 10 ** (NOISE_DB / 20),
                "edges": (high.edges / HIGH_BAND_FFT).tolist(),
                "slope": 1 / HIGH_BAND_FFT,
            },
        }
    if (told := catalogue.joint_stereo(folder)) is not None:
        joint, digest = told
        pieces.append(packed_joint_tables(joint))
        head["jointStereo"] = {"hash": digest, "bytes": len(pieces[-1])}
    if not pieces:
        return None
    written = b"".join(map(_aligned, [_begin(TABLES_MAGIC, head), *pieces]))
    return gzip.compress(written, QUICKEST, mtime=0)


def _begin(magic: bytes, head: Mapping[str, Any]) -> bytes:
    written = json.dumps(head, separators=(",", ":")).encode()
    return magic + len(written).to_bytes(4, "little") + written


def _smallest(file: bytes) -> bytes:
    return gzip.compress(gzip.decompress(file), BEST, mtime=0)


def _parts(
    weights: NDArray[np.uint8], halves: list[HalfLayer]
) -> tuple[list[list[int]], list[bytes]]:
    weights = weights.copy()
    for layer in halves:
        if layer.name in SENSITIVE:
            mine = weights[layer.at : layer.end]
            mine[:] = _rounded(mine.view("<u2")).view(np.uint8)
    parts: list[list[int]] = []
    pieces: list[bytes] = []
    copied = 0
    for layer in halves:
        if layer.name in (*SENSITIVE, *EXACT):
            continue
        parts.append([copied, layer.at - copied])
        pieces.append(weights[copied : layer.at].tobytes())
        panels = weights[layer.at : layer.end].view("<f2").reshape(-1, layer.inputs, PANEL)
        scale, integers = quantised(panels.astype(np.float64), 1)
        parts.append([layer.at, layer.inputs, layer.outputs])
        pieces += [scale.astype("<f4").tobytes(), integers.astype(np.int8).tobytes()]
        copied = layer.end
    parts.append([copied, len(weights) - copied])
    return parts, [*pieces, weights[copied:].tobytes()]


def _rounded(halves: NDArray[Any]) -> NDArray[np.uint16]:
    """float16 as integers -> the same with MANTISSA_BITS. None is as large as to overflow."""
    dropped = 10 - MANTISSA_BITS
    return ((halves.astype(np.uint32) + (1 << (dropped - 1)) >> dropped) << dropped).astype("<u2")


def _without_prior(tables: EntropyTables) -> EntropyTables:
    """With zeros for the weights that price the waveform layer, which no other level reads."""
    layer = tables.waveform
    zeros = {name: np.zeros_like(getattr(layer, name)) for name in PRIOR_WEIGHTS}
    return dataclasses.replace(tables, waveform=dataclasses.replace(layer, **zeros))


def _aligned(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % ALIGNMENT)
