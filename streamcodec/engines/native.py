"""The native engine: the C library on packed weights, without PyTorch."""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamcodec_models import catalogue

from ..errors import ModelError
from ..native.library import (
    BAD_FORMAT,
    NO_MEMORY,
    NO_VARIANT,
    UNSUPPORTED,
    address_of,
    aligned,
    required_library,
)
from ..units import Pcm
from .api import DecodeRequest, EncodeRequest, Latents, LoadedModel, Means, ModelShape

State = NDArray[np.float32]  # [C, floats]
_REASONS = {
    BAD_FORMAT: "it is damaged, or packed by another version",
    UNSUPPORTED: "the native engine does not run networks of this shape; take --engine torch",
    NO_MEMORY: "there is not enough memory",
    NO_VARIANT: "this processor lacks the instructions that were asked for",
}
HASH_AT, HASH_END = 16, 32  # of the header of packed weights


class _Workspace(NamedTuple):
    streams: int
    memory: NDArray[np.uint8]
    address: int


class NativeEngine:
    """One set of packed weights, for any number of threads: each has a workspace of its own."""

    slowest_step_ms = 2.0

    def __init__(self, path: Path, shape: ModelShape, variant: str | None = None) -> None:
        """`variant`: an instruction set by name (see `native.library.variants`), None for the best.

        Raises ModelError.
        """
        self.shape = shape
        self._library = required_library()
        packed = _mapped(path)
        model = ctypes.c_void_p()
        name = None if variant is None else variant.encode()
        address = packed.ctypes.data
        status = self._library.sc_model_open(address, packed.nbytes, name, ctypes.byref(model))
        if status != 0:
            raise ModelError(f"cannot open {path}: {_REASONS.get(status, status)}")
        self._packed, self._model = packed, model  # the weights must outlive the model
        weakref.finalize(self, self._library.sc_model_close, model)
        self._packet = shape.hop * shape.frames_per_packet
        packed_for = [
            getattr(self._library, f"sc_model_{name}")(model)
            for name in ("packet", "latent", "levels")
        ]
        asked_for = [self._packet, shape.latent_dim, shape.levels]
        if packed_for != asked_for:  # our arrays would be too short for what it writes
            raise ModelError(
                f"{path} is packed for samples a packet, latents and levels of {packed_for}; "
                f"its model has {asked_for}"
            )
        self._local = threading.local()
        self._fresh_encoder = self._fresh("encoder")
        self._fresh_decoder = self._fresh("decoder")

    def enter_thread(self) -> None:
        """Every thread is as good as another."""

    def initial_encoder_state(self, channels: int) -> State:
        return np.repeat(self._fresh_encoder[None], channels, 0)

    def initial_decoder_state(self, channels: int) -> State:
        return np.repeat(self._fresh_decoder[None], channels, 0)

    def encode(self, pcm: Pcm, level: int, state: State) -> tuple[Means, State]:
        """As `Engine.encode`."""
        return self.encode_many([EncodeRequest(pcm, level, state)])[0]

    def decode(self, latents: Latents, state: State) -> tuple[Pcm, State]:
        """As `Engine.decode`."""
        packets, channels = latents.gain_index.shape
        request = DecodeRequest(latents, packets, channels, latents.level, state)
        return self.decode_many([request])[0]

    def conceal(self, packets: int, channels: int, level: int, state: State) -> tuple[Pcm, State]:
        """The network's own continuation, fading."""
        return self.decode_many([DecodeRequest(None, packets, channels, level, state)])[0]

    def encode_many(self, requests: Sequence[EncodeRequest]) -> list[tuple[Means, State]]:
        """In one step for all streams, where their numbers of packets are the same."""
        if len({r.pcm.shape[1] for r in requests}) > 1:
            return [self.encode_many([request])[0] for request in requests]
        rows, states, levels = _batch([(len(r.pcm), r.level, r.state) for r in requests])
        packets = requests[0].pcm.shape[1] // self._packet
        pcm = np.ascontiguousarray(_joined([r.pcm for r in requests]), np.float32)
        means = np.empty((packets, rows[-1], self.shape.latent_dim), np.float32)
        gains = np.empty((packets, rows[-1]), np.int32)
        workspace = self._workspace(rows[-1])
        for p in range(packets):
            part = pcm if packets == 1 else pcm[:, p * self._packet : (p + 1) * self._packet].copy()
            arrays = (states, part, levels, means[p], gains[p])
            self._library.sc_encode(self._model, rows[-1], *map(address_of, arrays), workspace)
        return [
            (Means(r.level, gains[:, a:b], means[:, a:b]), states[a:b])
            for r, (a, b) in zip(requests, pairwise(rows), strict=True)
        ]

    def decode_many(self, requests: Sequence[DecodeRequest]) -> list[tuple[Pcm, State]]:
        """In one step for all streams, where their numbers of packets are the same."""
        if len({r.packets for r in requests}) > 1:
            return [self.decode_many([request])[0] for request in requests]
        rows, states, levels = _batch([(r.channels, r.level, r.state) for r in requests])
        packets, latent = requests[0].packets, self.shape.latent_dim
        lost = np.zeros(rows[-1], np.uint8)
        y = np.zeros((packets, rows[-1], latent), np.int32)
        gains = np.zeros((packets, rows[-1]), np.int32)
        for r, (a, b) in zip(requests, pairwise(rows), strict=True):
            lost[a:b] = r.latents is None
            if r.latents is not None:
                y[:, a:b], gains[:, a:b] = r.latents.y, r.latents.gain_index
        pcm = np.empty((packets, rows[-1], self._packet), np.float32)
        workspace = self._workspace(rows[-1])
        for p in range(packets):
            arrays = (states, y[p], gains[p], levels, lost, pcm[p])
            self._library.sc_decode(self._model, rows[-1], *map(address_of, arrays), workspace)
        whole = pcm[0] if packets == 1 else pcm.transpose(1, 0, 2).reshape(rows[-1], -1)
        return [(whole[a:b], states[a:b]) for a, b in pairwise(rows)]

    def _fresh(self, side: str) -> NDArray[np.float32]:
        size = getattr(self._library, f"sc_{side}_state_bytes")(self._model)
        state = np.zeros(size // 4, np.float32)
        getattr(self._library, f"sc_{side}_state_init")(self._model, address_of(state))
        return state

    def _workspace(self, streams: int) -> int:
        """Address of this thread's memory for a step of so many streams."""
        kept: _Workspace | None = getattr(self._local, "workspace", None)
        if kept is None or kept.streams < streams:
            memory = aligned(self._library.sc_workspace_bytes(self._model, streams))
            kept = self._local.workspace = _Workspace(streams, memory, address_of(memory))
        return kept.address


def load(folder: Path, variant: str | None = None, precision: str = "mixed") -> LoadedModel:
    """A model folder with packed weights. Raises ModelError."""
    path = folder / catalogue.packed_file(precision)
    described = catalogue.describe(folder)
    if not path.is_file():
        raise ModelError(
            f"{folder} has no {path.name}: pack it with `streamcodec train finish`, "
            "or take --engine torch"
        )
    with path.open("rb") as file:
        packed_hash = file.read(HASH_END)[HASH_AT:].decode("ascii", "replace")
    if packed_hash != described.hash:
        raise ModelError(f"{path} was packed from model {packed_hash}; this is {described.hash}")
    c = described.config
    shape = ModelShape(
        c.sample_rate,
        c.hop,
        c.overlap,
        c.frames_per_packet,
        c.latent_dim,
        c.quality_levels,
        c.base_levels,
        c.waveform_bins,
    )
    engine = NativeEngine(path, shape, variant)
    return LoadedModel(engine, described.tables, described.level_bitrates_bps, described.hash)


def _batch(
    streams: list[tuple[int, int, State]],
) -> tuple[list[int], State, NDArray[np.int32]]:
    """(channels, level, state) of each stream -> where its rows begin, and all states and levels in
    memory of their own.
    """
    if len(streams) == 1:  # a live talker: what costs is the number of calls to NumPy
        channels, level, state = streams[0]
        return [0, channels], state.copy(), np.full(channels, level, np.int32)
    rows = [0, *accumulate(channels for channels, _, _ in streams)]
    levels = np.empty(rows[-1], np.int32)
    for (_, level, _), (a, b) in zip(streams, pairwise(rows), strict=True):
        levels[a:b] = level
    return rows, np.concatenate([state for _, _, state in streams]), levels


def _joined(arrays: list[Pcm]) -> Pcm:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _mapped(path: Path) -> NDArray[np.uint8]:
    """The file as memory that is read when it is needed, and shared by all processes."""
    try:
        with path.open("rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
