"""The native engine: the C library on packed weights, without PyTorch."""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from pathlib import Path

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
from .api import Latents, LoadedModel, Means, ModelShape

State = NDArray[np.float32]  # [C, floats]
_REASONS = {
    BAD_FORMAT: "it is damaged, or packed by another version",
    UNSUPPORTED: "the native engine does not run networks of this shape; take --engine torch",
    NO_MEMORY: "there is not enough memory",
    NO_VARIANT: "this processor lacks the instructions that were asked for",
}
HASH_AT, HASH_END = 16, 32  # of the header of packed weights


class NativeEngine:
    """One set of packed weights, for any number of threads: each has a workspace of its own."""

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
        channels, packets = len(pcm), pcm.shape[1] // self._packet
        after, levels = state.copy(), np.full(channels, level, np.int32)
        means = np.empty((packets, channels, self.shape.latent_dim), np.float32)
        gains = np.empty((packets, channels), np.int32)
        for p in range(packets):
            x = np.ascontiguousarray(pcm[:, p * self._packet : (p + 1) * self._packet], np.float32)
            self.encode_batch(_rows(after), x, levels, means[p], gains[p])
        return Means(level, gains, means), after

    def decode(self, latents: Latents, state: State) -> tuple[Pcm, State]:
        """As `Engine.decode`."""
        return self._decode(latents.y, latents.gain_index, latents.level, lost=False, state=state)

    def conceal(self, packets: int, channels: int, level: int, state: State) -> tuple[Pcm, State]:
        """The network's own continuation, fading."""
        y = np.zeros((packets, channels, self.shape.latent_dim), np.int32)
        return self._decode(
            y, np.zeros((packets, channels), np.int32), level, lost=True, state=state
        )

    def encode_batch(
        self,
        states: NDArray[np.uintp],
        pcm: Pcm,
        levels: NDArray[np.int32],
        means: NDArray[np.float32],
        gains: NDArray[np.int32],
    ) -> None:
        """One packet of each of S streams, in place: states [S] addresses (see `address_of`), pcm
        [S, packet], levels [S] -> means [S, D], gains [S]. All arrays contiguous.
        """
        count, workspace = len(states), self._workspace(len(states))
        arrays = (states, pcm, levels, means, gains, workspace)
        self._library.sc_encode(self._model, count, *map(address_of, arrays))

    def decode_batch(
        self,
        states: NDArray[np.uintp],
        y: NDArray[np.int32],
        gains: NDArray[np.int32],
        levels: NDArray[np.int32],
        lost: NDArray[np.uint8],
        pcm: Pcm,
    ) -> None:
        """One packet of each of S streams, in place: states [S] addresses, y [S, D], gains, levels
        and lost [S] -> pcm [S, packet]. All arrays contiguous.
        """
        count, workspace = len(states), self._workspace(len(states))
        arrays = (states, y, gains, levels, lost, pcm, workspace)
        self._library.sc_decode(self._model, count, *map(address_of, arrays))

    def _decode(
        self,
        y: NDArray[np.int32],
        gains: NDArray[np.int32],
        level: int,
        *,
        lost: bool,
        state: State,
    ) -> tuple[Pcm, State]:
        packets, channels = gains.shape
        after, levels = state.copy(), np.full(channels, level, np.int32)
        missing = np.full(channels, lost, np.uint8)
        pcm = np.empty((packets, channels, self._packet), np.float32)
        y, gains = np.ascontiguousarray(y, np.int32), np.ascontiguousarray(gains, np.int32)
        states = _rows(after)
        for p in range(packets):
            self.decode_batch(states, y[p], gains[p], levels, missing, pcm[p])
        if packets == 1:
            return pcm[0], after
        return pcm.transpose(1, 0, 2).reshape(channels, -1), after

    def _fresh(self, side: str) -> NDArray[np.float32]:
        size = getattr(self._library, f"sc_{side}_state_bytes")(self._model)
        state = np.zeros(size // 4, np.float32)
        getattr(self._library, f"sc_{side}_state_init")(self._model, address_of(state))
        return state

    def _workspace(self, streams: int) -> NDArray[np.uint8]:
        kept: tuple[int, NDArray[np.uint8]] | None = getattr(self._local, "workspace", None)
        if kept is None or kept[0] < streams:
            size = self._library.sc_workspace_bytes(self._model, streams)
            kept = self._local.workspace = streams, aligned(size)
        return kept[1]


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
        c.sample_rate, c.hop, c.overlap, c.frames_per_packet, c.latent_dim, c.quality_levels
    )
    engine = NativeEngine(path, shape, variant)
    return LoadedModel(engine, described.tables, described.level_bitrates_bps, described.hash)


def _rows(state: State) -> NDArray[np.uintp]:
    """Addresses of the rows of [C, floats]."""
    return np.arange(len(state), dtype=np.uintp) * state.strides[0] + address_of(state)


def _mapped(path: Path) -> NDArray[np.uint8]:
    """The file as memory that is read when it is needed, and shared by all processes."""
    try:
        with path.open("rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
