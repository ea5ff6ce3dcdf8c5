"""What the codec asks of an engine: one step of the network, NumPy in and out, with its state as a
value.

Shapes: C channels, T samples, P packets, D latent, F frames of a packet, K coefficients of a frame
in the waveform layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..tables import EntropyTables
from ..units import Pcm

State: TypeAlias = Any  # an engine's own: others only keep it and hand it back


@dataclasses.dataclass(frozen=True)
class ModelShape:
    """Geometry of a model. Lengths are in samples at `sample_rate` (Hz)."""

    sample_rate: int
    hop: int
    overlap: int
    frames_per_packet: int
    latent_dim: int
    levels: int
    base_levels: int  # of these, the first, which are without the waveform layer
    waveform_bins: int

    @classmethod
    def of(cls, config: Any) -> ModelShape:
        """That of a network, from its `streamcodec_models.config.VaeConfig`."""
        return cls(
            config.sample_rate,
            config.hop,
            config.overlap,
            config.frames_per_packet,
            config.latent_dim,
            config.quality_levels,
            config.base_levels,
            config.waveform_bins,
        )


class Means(NamedTuple):
    """One payload before it is quantised: gain_index [P, C], mean [P, C, D] of the posterior in
    quantiser steps, and coefficients [P, C, F, K] of the sound, at unit gain. At levels without the
    waveform layer nobody reads those: they may be zeros.
    """

    level: int
    gain_index: NDArray[np.int32]
    mean: NDArray[np.float32]
    coefficients: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Waveform:
    """The waveform layer of one payload. Packets in which it is empty have zeros everywhere.

    loudness [P, C]: of the talker, in LOUDNESS_STEP gain steps above GAIN_MIN. q [P, C, F, K]
    integers; of each frame the first `bins` can be other than zero. steps [P, C, bands]: sizes of
    the quantiser's steps, at unit gain, each for STEP_BAND coefficients.
    """

    bins: int
    coded: NDArray[np.bool_]  # [P, C]
    loudness: NDArray[np.int32]
    q: NDArray[np.int32]
    steps: NDArray[np.float32]


class Latents(NamedTuple):
    """What one payload says: level 0..levels - 1, gain_index [P, C] (GAIN_MIN: silent), y [P, C, D]
    integers, and the waveform layer at levels that have it.
    """

    level: int
    gain_index: NDArray[np.int32]
    y: NDArray[np.int32]
    waveform: Waveform | None = None


class EncodeRequest(NamedTuple):
    """One stream's packets for `encode_many`: pcm [C, P * packet]."""

    pcm: Pcm
    level: int
    state: State


class DecodeRequest(NamedTuple):
    """One stream's packets for `decode_many`. They are concealed at `level` where `latents` is
    None.
    """

    latents: Latents | None
    packets: int
    channels: int
    level: int
    state: State


class Engine(Protocol):
    """Runs one set of weights for any number of streams, each of which keeps its own state.

    A state that was handed in stays valid: the encoder tries another level from the same one.
    """

    @property
    def shape(self) -> ModelShape: ...

    @property
    def slowest_step_ms(self) -> float:
        """How long a packet may take on a busy core: sound must be decoded so far ahead."""
        ...

    def enter_thread(self) -> None:
        """Called once by each thread that encodes or decodes live audio, before it does."""
        ...

    def initial_encoder_state(self, channels: int) -> State: ...

    def initial_decoder_state(self, channels: int) -> State: ...

    def encode(self, pcm: Pcm, level: int, state: State) -> tuple[Means, State]:
        """pcm [C, P * packet] in -1..1 -> means of the posterior, new state."""
        ...

    def residual(
        self, means: Means, latents: Latents, state: State
    ) -> tuple[NDArray[np.float32], State]:
        """What the waveform layer is to say: coefficients of the sound less what a decoder in
        `state` predicts from these latents, [P, C, F, K]; and that decoder's new state. At levels
        without the layer only the state counts.
        """
        ...

    def decode(self, latents: Latents, state: State) -> tuple[Pcm, State]:
        """Latents of P packets -> pcm [C, P * packet], new state."""
        ...

    def conceal(self, packets: int, channels: int, level: int, state: State) -> tuple[Pcm, State]:
        """What is played in place of `packets` that did not come -> pcm [C, packets * packet], new
        state.
        """
        ...

    def encode_many(self, requests: Sequence[EncodeRequest]) -> list[tuple[Means, State]]:
        """`encode` for each of several streams, which costs less than one after the other."""
        ...

    def decode_many(self, requests: Sequence[DecodeRequest]) -> list[tuple[Pcm, State]]:
        """`decode` or `conceal` for each of several streams."""
        ...


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model's weights in an engine, with what else its folder holds.

    level_bitrates_bps [levels]: mean payload rate of one channel of speech. hash: 16 hex digits
    over the folder's files, which streams name.
    """

    engine: Engine
    tables: EntropyTables
    level_bitrates_bps: tuple[float, ...]
    hash: str
