"""How packed weights are laid out, which native/src/model.c reads: where their float16 layers lie,
and how weights become int8. Needs no PyTorch.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamcodec.errors import ModelError
from streamcodec.tables import STEP_BAND

from .catalogue import PACKED_PRECISIONS

MAGIC, VERSION = b"SCNATIVE", 3
ALIGNMENT, PANEL, HEADER_BYTES, SHAPE_AT = 64, 32, 192, 32
CONTROLS = 8  # of the comb
LARGEST_WEIGHT = 127
# shares of the largest weight: a little clipping may cost less than it saves
CLIPS = 1 - 0.02 * np.arange(12)

Array = NDArray[np.float64]
# `Shape` of native/src/model.h, in its order
SHAPE = (
    *("sample_rate", "hop", "overlap", "frames_per_packet", "window", "encoder_dim"),
    *("decoder_dim", "latent", "kernel", "expansion", "encoder_frame_blocks"),
    *("encoder_packet_blocks", "decoder_packet_blocks", "decoder_frame_blocks", "levels"),
    *("base_levels", "waveform_bins", "refine_dim", "noise_frames", "envelope_block"),
    *("decimation", "comb_block", "comb_window", "comb_fine_window", "shortest", "longest"),
    "low_pass",
)


class HalfLayer(NamedTuple):
    """A linear layer's float16 weights: [outputs / 32, inputs, 32] from byte `at` on."""

    name: str
    at: int
    inputs: int
    outputs: int

    @property
    def end(self) -> int:
        return self.at + 2 * self.inputs * self.outputs


class PackedNetwork(NamedTuple):
    """bytes: of one network. halves: its float16 layers, in order."""

    bytes: int
    halves: list[HalfLayer]


def packed_network(packed: bytes) -> PackedNetwork:
    """`packed`: weights of precision `mixed`. Raises ModelError for others."""
    if len(packed) < HEADER_BYTES or packed[:8] != MAGIC:
        raise ModelError("these are no packed weights")
    version, precision = struct.unpack_from("<2i", packed, 8)
    if (version, precision) != (VERSION, PACKED_PRECISIONS.index("mixed")):
        raise ModelError(f"packed weights must be mixed, of version {VERSION}")
    walk = _Walk(
        dict(zip(SHAPE, struct.unpack_from(f"<{len(SHAPE)}i", packed, SHAPE_AT), strict=True))
    )
    walk.network()
    if len(packed) not in (walk.at, 2 * walk.at):
        raise ModelError(
            f"packed weights of this shape have {walk.at} bytes a network, got {len(packed)}"
        )
    return PackedNetwork(walk.at, walk.halves)


def quantised(weight: Array, axis: int) -> tuple[Array, Array]:
    """A scale for each output, which has its inputs along `axis` (of length 1 in the scales), and
    integers: of several scales the one of least squared error.
    """
    largest = np.maximum(np.abs(weight).max(axis, keepdims=True), 1e-12) / LARGEST_WEIGHT
    best, error = largest.copy(), np.full_like(largest, np.inf)
    for clip in CLIPS:
        scale = clip * largest
        integers = np.clip(np.rint(weight / scale), -LARGEST_WEIGHT, LARGEST_WEIGHT)
        mine = np.square(integers * scale - weight).sum(axis, keepdims=True)
        best, error = np.where(mine < error, scale, best), np.minimum(mine, error)
    return best, np.clip(np.rint(weight / best), -LARGEST_WEIGHT, LARGEST_WEIGHT)


class _Walk:
    """at: bytes of what was passed."""

    def __init__(self, shape: dict[str, int]) -> None:
        self._shape, self.at = shape, HEADER_BYTES
        self.halves: list[HalfLayer] = []

    def network(self) -> None:
        """As take_arrays."""
        s = self._shape
        enc, dec, latent, bins = (
            s[name] for name in ("encoder_dim", "decoder_dim", "latent", "waveform_bins")
        )
        frames, levels, window = s["frames_per_packet"], s["levels"], s["window"]
        frame = s["hop"] + s["overlap"]
        spread, spectrum = s["hop"] * frames + s["overlap"], frame // 2 + 1
        features = 2 * bins + bins // STEP_BAND
        self._floats(2 * levels, window, window)
        self._half("encoder_in", 3 * (window // 2 + 1), enc)
        self._blocks(s["encoder_frame_blocks"], enc)
        self._half("encoder_down", frames * enc, enc)
        self._floats(5 * enc)
        self._blocks(s["encoder_packet_blocks"], enc)
        self._floats(2 * enc)
        self._half("to_latent", enc, latent)
        self._half("skip_in", spread, latent)
        self._floats(levels * latent, levels * latent)
        self._half("from_latent", latent, dec)
        self._floats(6 * dec)
        self._blocks(s["decoder_packet_blocks"], dec)
        self._half("decoder_up", dec, frames * dec)
        self._blocks(s["decoder_frame_blocks"], dec)
        self._floats(2 * dec)
        self._half("head", dec, 3 * spectrum)
        self._half("skip_out", latent, spread)
        self._half("inverse_dft", 2 * spectrum, frame)
        self._floats(spread, s["noise_frames"] * 2 * spectrum, dec + 8, CONTROLS * (dec + 8))
        self._floats(_padded(s["low_pass"], 8), bins * frame, frames * bins, levels * bins)
        width = self._half("refinement.first", 2 * features, s["refine_dim"])
        width = self._half("refinement.second", width, s["refine_dim"])
        self._half("refinement.last", width, bins)

    def _take(self, size: int) -> None:
        self.at += _padded(size, ALIGNMENT)

    def _floats(self, *counts: int) -> None:
        for count in counts:
            self._take(4 * count)

    def _half(self, name: str, inputs: int, outputs: int) -> int:
        outputs = _padded(outputs, PANEL)
        self._floats(outputs)
        self.halves.append(HalfLayer(name, self.at, inputs, outputs))
        self._take(2 * inputs * outputs)
        return outputs

    def _int8(self, inputs: int, outputs: int) -> int:
        inputs, outputs = _padded(inputs, 8), _padded(outputs, PANEL)
        self._floats(outputs, outputs)
        self._take(inputs * outputs)
        return outputs

    def _blocks(self, count: int, dim: int) -> None:
        for _ in range(count):
            self._floats(self._shape["kernel"] * dim, 2 * dim, dim)
            self._int8(self._int8(dim, self._shape["expansion"] * dim), dim)


def _padded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
