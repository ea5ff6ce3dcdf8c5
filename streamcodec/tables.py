"""The integer tables that decide every code word, and the numbers that they are built from.

They stand below the codec and below the networks: training fits them, weights carry them, the
bitstream reads them. No float decides a code word at decode time (docs/bitstream.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .config import HIGH_BAND_BYTES

GAIN_STEPS_PER_OCTAVE = 4  # of amplitude: 1.5 dB a step
GAIN_MIN = -52  # 2^-13: a packet below it counts as silent
GAIN_COUNT = 64
FREQUENCY_BITS = 16
SCALE_STEPS_PER_OCTAVE = 8
SCALE_OCTAVE_MIN, SCALE_OCTAVE_MAX = -6, 6
SYMBOL_LIMIT = 31  # larger latents are escaped
# how much rarer each level is than its neighbour that is nearer to the stream's rate
LEVEL_STRAYS = 0.3
JOINT_LEVEL_STRAYS = 0.55  # in joint stereo: what it costs is not known before
# Squared quantiser steps that a bit is worth. A fine uniform quantiser trades them at the slope of
# step^2 / 12 * 2^(-2 bits), which is 2 ln 2 / 12. Most of our latents are nearly always zero, and
# half as much again is better for those (decision 0010).
BIT_WORTH = 3 * math.log(2) / 12
# The prior of the waveform layer: weights are multiples of 2^-8 of at most this many.
PRIOR_WEIGHT_BITS = 8
LARGEST_PRIOR_WEIGHT = 127
LARGEST_PRIOR_BIAS = 1 << 28  # so that sums of 384 products and a bias fit into 32 bits
PRIOR_ACTIVATION_BITS = 6  # hidden activations are multiples of 2^-6
LARGEST_PRIOR_ACTIVATION = (1 << 15) - 1
LARGEST_PRIOR_WIDTH = 384
STEP_BAND = 4  # coefficients that share a quantiser step
STEP_FALL = 13 / 64  # octaves that a step is smaller for each gain step above the talker's loudness
LOUDNESS_STEP = 2  # gain steps between the loudnesses that a packet can name
LOUDNESS_COUNT = GAIN_COUNT // LOUDNESS_STEP
# The high band (docs/bitstream.md): what is above the band of the core, of which the sample rate is
# so many times the core's.
HIGH_BAND_FACTOR = 3
HIGH_BAND_STAGES = HIGH_BAND_BYTES  # a byte names an entry of each
HIGH_BAND_SEGMENTS = 2  # of a packet, each with levels of its own
HIGH_BAND_ENTRIES = 256  # of a codebook
HIGH_BAND_REFINED = 128  # of a second channel's codebook: entries from here on have a refinement
HIGH_BAND_FFT = 1024  # points of the spectra that it is measured in
# Joint stereo: what the first channel's integers say of those of the second.
JOINT_MAGNITUDES = 3  # of an integer of the first channel that are told apart: 0, 1, 2 and more
JOINT_GAINS = 2 * GAIN_COUNT - 1  # differences between the gains of two channels


@dataclasses.dataclass(frozen=True)
class HighBandTables:
    """What the high band is described with, for B bands and N samples of noise.

    edges [B + 1]: bins of spectra of HIGH_BAND_FFT points, ascending. low_pass [taps]: the filter
    between the sample rates, of an odd length. mean [B]: usual levels of bands in dB, full scale 0.
    decay [1]: the share of how far the levels of the packet before were from usual that is expected
    of the next. codebooks [HIGH_BAND_STAGES, HIGH_BAND_ENTRIES, HIGH_BAND_SEGMENTS, B]: what is
    added to that, in dB. noise [N]: integers within +-127, whose end continues in its beginning.
    Of the second channel of joint stereo, which one byte describes or two: second_codebook
    [HIGH_BAND_ENTRIES, HIGH_BAND_SEGMENTS, B], whose entries from HIGH_BAND_REFINED on are refined
    by one of codebooks[1]; second_share [HIGH_BAND_ENTRIES]: the share of what the first channel's
    entries add that each adds, too.

    Raises ValueError for tables that do not fit each other.
    """

    edges: NDArray[np.int32]
    low_pass: NDArray[np.float32]
    mean: NDArray[np.float32]
    decay: NDArray[np.float32]
    codebooks: NDArray[np.float32]
    noise: NDArray[np.int32]
    second_codebook: NDArray[np.float32]
    second_share: NDArray[np.float32]

    def __post_init__(self) -> None:
        bands = len(self.mean)
        books = (HIGH_BAND_STAGES, HIGH_BAND_ENTRIES, HIGH_BAND_SEGMENTS, bands)
        shapes = {
            "edges": (bands + 1,),
            "codebooks": books,
            "decay": (1,),
            "second_codebook": books[1:],
            "second_share": books[1:2],
        }
        _check_shapes(self, "high band table", shapes)
        if not np.all(np.diff([0, *self.edges, HIGH_BAND_FFT // 2 + 1]) > 0):
            raise ValueError(
                f"high band table edges must ascend within {HIGH_BAND_FFT // 2} bins, "
                f"got {self.edges.tolist()}"
            )
        if len(self.low_pass) % 2 == 0 or not 0 <= self.decay[0] < 1:
            raise ValueError("high band tables need an odd number of taps and a decay of 0 to 1")


@dataclasses.dataclass(frozen=True)
class FollowTables:
    """What prices integers of a second channel by those of the first at the same places, for
    classes C of how alike the channels are and B buckets of scales.

    buckets [scales]: of each row of frequencies that they would have without the first channel,
    ascending from 0. follows [C]: 1 where integers are told by how they differ from the first
    channel's, 0 where as they are. class_frequencies [1, 1 + C]: first that they are told without
    it. frequencies [C, B, JOINT_MAGNITUDES, 2 * SYMBOL_LIMIT + 2]: by the magnitude of the first
    channel's integer; where that is below zero all signs are turned.

    Raises ValueError for tables that do not fit each other.
    """

    buckets: NDArray[np.int32]
    follows: NDArray[np.int32]
    class_frequencies: NDArray[np.int32]
    frequencies: NDArray[np.int32]

    def __post_init__(self) -> None:
        classes = len(self.follows)
        buckets = int(self.buckets.max(initial=0)) + 1
        shapes = {
            "follows": (classes,),
            "class_frequencies": (1, 1 + classes),
            "frequencies": (classes, buckets, JOINT_MAGNITUDES, 2 * SYMBOL_LIMIT + 2),
        }
        _check_shapes(self, "joint table", shapes)
        if self.buckets.ndim != 1 or np.any(np.diff([0, *self.buckets.tolist()]) < 0):
            raise ValueError("joint table buckets must ascend from 0")
        if np.any(self.follows & ~1):
            raise ValueError("joint table follows must hold zeros and ones")
        _check_frequencies(self, "joint table", ("class_frequencies", "frequencies"))


@dataclasses.dataclass(frozen=True)
class JointTables:
    """What prices the second channel of a packet by the first: its latents, by the scales of the
    first channel's class; its gain, gain_frequencies [classes of the latents, JOINT_GAINS] of how
    many steps louder it is, from -GAIN_COUNT + 1 on; and its waveform layer, by its own scales.
    level_frequencies: in place of those of EntropyTables.

    Raises ValueError for tables that do not fit each other.
    """

    latents: FollowTables
    waveform: FollowTables
    gain_frequencies: NDArray[np.int32]
    level_frequencies: NDArray[np.int32]

    def __post_init__(self) -> None:
        gains, levels = (len(self.latents.follows), JOINT_GAINS), len(self.level_frequencies)
        shapes = {"gain_frequencies": gains, "level_frequencies": (levels, levels)}
        _check_shapes(self, "joint table", shapes)
        _check_frequencies(self, "joint table", ("gain_frequencies", "level_frequencies"))


@dataclasses.dataclass(frozen=True)
class WaveformTables:
    """What prices the waveform layer (docs/bitstream.md), for frames F of a packet, bins K, latents
    D and a hidden width H.

    shape [2]: F and K. Weights first_weight [H, D + 2], second_weight [H, H] and last_weight
    [F * K + bands, H] of the prior's three layers, in units of 2^-PRIOR_WEIGHT_BITS, within
    +-LARGEST_PRIOR_WEIGHT, and their biases [outputs] in the units of the sums. level_base
    [levels]: what the prior is told of the base below the layer. level_step [levels]: what the
    level adds to a step, in rows (1 / SCALE_STEPS_PER_OCTAVE octaves). level_bins [levels]: how
    many bins are coded; 0 for levels without the layer. frequencies: as those of latents, by a
    coefficient's scale in steps. coded_frequencies [levels, 2]: of layers that are empty, and that
    are not. loudness_frequencies [1, LOUDNESS_COUNT]: of the talker's loudness, in LOUDNESS_STEP
    gain steps above GAIN_MIN.

    Raises ValueError for tables that do not fit each other.
    """

    shape: NDArray[np.int32]
    first_weight: NDArray[np.int32]
    first_bias: NDArray[np.int32]
    second_weight: NDArray[np.int32]
    second_bias: NDArray[np.int32]
    last_weight: NDArray[np.int32]
    last_bias: NDArray[np.int32]
    level_base: NDArray[np.int32]
    level_step: NDArray[np.int32]
    level_bins: NDArray[np.int32]
    frequencies: NDArray[np.int32]
    coded_frequencies: NDArray[np.int32]
    loudness_frequencies: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.first_weight.ndim != 2 or len(self.first_weight) > LARGEST_PRIOR_WIDTH:
            raise ValueError(
                "waveform table first_weight must be of two dimensions, with at most "
                f"{LARGEST_PRIOR_WIDTH} rows, got {self.first_weight.shape}"
            )
        width, levels, rows = len(self.first_weight), len(self.level_step), len(self.frequencies)
        if self.shape.shape != (2,) or self.shape.min() < 1:
            raise ValueError(f"waveform table shape must hold frames and bins, got {self.shape}")
        frames, bins = self.shape.tolist()
        shapes = {
            "last_bias": (frames * bins + -(-bins // STEP_BAND),),
            "first_bias": (width,),
            "second_weight": (width, width),
            "second_bias": (width,),
            "last_weight": (len(self.last_bias), width),
            "level_base": (levels,),
            "level_bins": (levels,),
            "frequencies": (rows, 2 * SYMBOL_LIMIT + 2),
            "coded_frequencies": (levels, 2),
            "loudness_frequencies": (1, LOUDNESS_COUNT),
        }
        _check_shapes(self, "waveform table", shapes)
        for name in ("first_weight", "second_weight", "last_weight"):
            if np.abs(getattr(self, name)).max() > LARGEST_PRIOR_WEIGHT:
                raise ValueError(f"waveform table {name} must lie within +-{LARGEST_PRIOR_WEIGHT}")
        for name in ("first_bias", "second_bias", "last_bias"):
            if np.abs(getattr(self, name)).max() > LARGEST_PRIOR_BIAS:
                raise ValueError(f"waveform table {name} must lie within +-{LARGEST_PRIOR_BIAS}")
        if not 0 <= self.level_bins.min() <= self.level_bins.max() <= bins:
            raise ValueError(f"waveform table level_bins must lie within 0 and {bins}")
        for name, limit in (("level_base", LARGEST_PRIOR_ACTIVATION), ("level_step", 1 << 20)):
            if np.abs(getattr(self, name)).max() > limit:
                raise ValueError(f"waveform table {name} must lie within +-{limit}")
        _check_frequencies(
            self, "waveform table", ("frequencies", "coded_frequencies", "loudness_frequencies")
        )


@dataclasses.dataclass(frozen=True)
class EntropyTables:
    """Integer frequencies of everything that a payload can say. Every row adds up to
    2^FREQUENCY_BITS and holds no zero.

    level_frequencies [levels, levels]: of a packet's level, in a stream whose base level is the
    row. level_scale [levels, D] and class_scale [classes, D] add up to a row of `frequencies`
    [scales, 2 * SYMBOL_LIMIT + 2], whose columns are the symbols -SYMBOL_LIMIT..SYMBOL_LIMIT and
    the escape. class_frequencies [levels, classes + 1]: the last column is silence, a packet
    without gain and latents. gain_frequencies [classes, GAIN_COUNT - 1]: of the gains above
    silence.

    Raises ValueError for rows that are not frequencies, and for tables whose shapes do not fit.
    """

    level_frequencies: NDArray[np.int32]
    level_scale: NDArray[np.int32]
    class_scale: NDArray[np.int32]
    frequencies: NDArray[np.int32]
    class_frequencies: NDArray[np.int32]
    gain_frequencies: NDArray[np.int32]
    waveform: WaveformTables

    def __post_init__(self) -> None:
        if self.level_scale.ndim != 2:
            raise ValueError("entropy table level_scale must be of two dimensions")
        (levels, latents), classes = self.level_scale.shape, len(self.class_scale)
        shapes = {
            "level_frequencies": (levels, levels),
            "class_scale": (classes, latents),
            "frequencies": (len(self.frequencies), 2 * SYMBOL_LIMIT + 2),
            "class_frequencies": (levels, classes + 1),
            "gain_frequencies": (classes, GAIN_COUNT - 1),
        }
        _check_shapes(self, "entropy table", shapes)
        _check_frequencies(
            self,
            "entropy table",
            ("level_frequencies", "frequencies", "class_frequencies", "gain_frequencies"),
        )
        if len(self.waveform.level_step) != levels:
            raise ValueError(
                f"waveform table level_step must be of shape {(levels,)}, "
                f"got {self.waveform.level_step.shape}"
            )
        if self.waveform.first_weight.shape[1] != latents + 2:
            raise ValueError(
                f"waveform table first_weight must have {latents + 2} columns, "
                f"got {self.waveform.first_weight.shape[1]}"
            )

    def scale_rows(self, level: int, class_index: int) -> NDArray[np.int32]:
        """[D] rows of `frequencies` for one packet."""
        rows: NDArray[np.int32] = np.clip(
            self.level_scale[level] + self.class_scale[class_index], 0, len(self.frequencies) - 1
        )
        return rows


def _check_shapes(tables: object, kind: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        got = getattr(tables, name).shape
        if got != shape:
            raise ValueError(f"{kind} {name} must be of shape {shape}, got {got}")


def _check_frequencies(tables: object, kind: str, names: tuple[str, ...]) -> None:
    for name in names:
        rows = getattr(tables, name)
        if rows.min() < 1 or np.any(rows.sum(-1) != 1 << FREQUENCY_BITS):
            raise ValueError(
                f"{kind} {name}: rows must hold positive counts "
                f"that add up to {1 << FREQUENCY_BITS}"
            )


def integer_frequencies(mass: NDArray[np.float64]) -> NDArray[np.int32]:
    """mass [..., S] -> counts of at least one that add up to 2^FREQUENCY_BITS in each row."""
    total = 1 << FREQUENCY_BITS
    rows = mass.reshape(-1, mass.shape[-1])
    share = rows / rows.sum(1, keepdims=True)
    counts = np.maximum(1, np.floor(share * (total - rows.shape[1]))).astype(np.int32)
    counts[np.arange(len(counts)), share.argmax(1)] += (total - counts.sum(1)).astype(np.int32)
    result: NDArray[np.int32] = counts.reshape(mass.shape)
    return result


def level_frequencies(levels: int, strays: float = LEVEL_STRAYS) -> NDArray[np.int32]:
    """-> [base level, level]. A stream whose rate lies between two levels alternates between its
    base level and the one above; other levels are the rarer, the farther they lie.
    """
    above = np.arange(levels) - np.arange(levels)[:, None]
    return integer_frequencies(strays ** np.maximum(above - 1.0, -above))
