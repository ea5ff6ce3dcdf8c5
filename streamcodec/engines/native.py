"""The native engine: the C library on packed weights, without PyTorch."""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamcodec_models import catalogue

from ..errors import ModelError
from ..native.library import (
    BAD_FORMAT,
    NO_MEMORY,
    NO_VARIANT,
    UNSUPPORTED,
    Buffer,
    address_of,
    aligned,
    required_library,
)
from ..tables import STEP_BAND
from ..units import Pcm
from .api import DecodeRequest, EncodeRequest, Latents, LoadedModel, Means, ModelShape

State: TypeAlias = Buffer  # [C, floats]
_REASONS = {
    BAD_FORMAT: "it is damaged, or packed by another version",
    UNSUPPORTED: "the native engine does not run networks of this shape; take --engine torch",
    NO_MEMORY: "there is not enough memory",
    NO_VARIANT: "this processor lacks the instructions that were asked for",
}
HASH_AT, HASH_END = 16, 32  # of the header of packed weights


class _Step:
    """A thread's memory for steps of up to so many rows (a channel of a stream each): what goes in
    and comes out, and what the library works in. Tuples are the addresses that its functions take,
    in their order, without and with the waveform layer.
    """

    def __init__(self, rows: int, shape: ModelShape, workspace_bytes: int) -> None:
        self.rows = rows
        frames, bins = shape.frames_per_packet, shape.waveform_bins
        self.pcm = np.empty((rows, shape.hop * frames), np.float32)
        self.levels, self.lost = np.empty(rows, np.int32), np.empty(rows, np.uint8)
        # [1, rows, ...]: of one packet
        self.gains = np.zeros((1, rows), np.int32)
        self.means = np.empty((1, rows, shape.latent_dim), np.float32)
        self.y = np.zeros((1, rows, shape.latent_dim), np.int32)
        self.coefficients = np.empty((1, rows, frames, bins), np.float32)
        self.q, self.bins = np.zeros((1, rows, frames, bins), np.int32), np.zeros(rows, np.int32)
        self.steps = np.zeros((1, rows, -(-bins // STEP_BAND)), np.float32)
        self.workspace = Buffer.of(aligned(workspace_bytes))
        pcm, levels, lost = map(address_of, (self.pcm, self.levels, self.lost))
        gains, means, y = map(address_of, (self.gains, self.means, self.y))
        coefficients, workspace = address_of(self.coefficients), self.workspace.address
        layer = tuple(map(address_of, (self.q, self.steps, self.bins)))
        into = (pcm, levels, means, gains)
        self.encode = ((*into, None, workspace), (*into, coefficients, workspace))
        said = (y, gains, levels)
        self.residual = (
            (*said, None, None, workspace),
            (*said, coefficients, coefficients, workspace),
        )
        self.decode = (
            (*said, lost, None, None, None, pcm, workspace),
            (*said, lost, *layer, pcm, workspace),
        )


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
        self._packed, self.model = packed, model  # the weights must outlive the model
        weakref.finalize(self, self._library.sc_model_close, model)
        self._packet = shape.hop * shape.frames_per_packet
        packed_for = [
            getattr(self._library, f"sc_model_{name}")(model)
            for name in (
                "packet",
                "latent",
                "levels",
                "base_levels",
                "waveform_bins",
                "coefficients",
            )
        ]
        self._coefficients = (shape.frames_per_packet, shape.waveform_bins)
        asked_for = [self._packet, shape.latent_dim, shape.levels, shape.base_levels]
        asked_for += [shape.waveform_bins, shape.frames_per_packet * shape.waveform_bins]
        if packed_for != asked_for:  # our arrays would be too short for what it writes
            raise ModelError(
                f"{path} is packed for samples a packet, latents, levels, base levels and "
                f"coefficients (of a frame, and all) of {packed_for}; its model has {asked_for}"
            )
        self._local = threading.local()
        self._fresh_encoder = self._fresh("encoder")
        self._fresh_decoder = self._fresh("decoder")

    def enter_thread(self) -> None:
        """Every thread is as good as another."""

    def initial_encoder_state(self, channels: int) -> State:
        return Buffer.of(np.repeat(self._fresh_encoder[None], channels, 0))

    def initial_decoder_state(self, channels: int) -> State:
        return Buffer.of(np.repeat(self._fresh_decoder[None], channels, 0))

    def encode(self, pcm: Pcm, level: int, state: State) -> tuple[Means, State]:
        """As `Engine.encode`."""
        step, after = self._step(len(pcm)), Buffer.of(state.array.copy())
        step.levels.fill(level)
        gains, means, coefficients = self._encode(step, pcm, after, self._has_waveform(level))
        return Means(level, gains, means, coefficients), after

    def residual(
        self, means: Means, latents: Latents, state: State
    ) -> tuple[NDArray[np.float32], State]:
        """As `Engine.residual`."""
        packets, channels = latents.gain_index.shape
        step, after = self._step(channels), Buffer.of(state.array.copy())
        with_layer = self._has_waveform(latents.level)
        out = np.zeros((packets, channels, *self._coefficients), np.float32)
        step.levels.fill(latents.level)
        for p in range(packets):
            step.y[0, :channels], step.gains[0, :channels] = latents.y[p], latents.gain_index[p]
            if with_layer:
                step.coefficients[0, :channels] = means.coefficients[p]
            addresses = step.residual[with_layer]
            self._library.sc_residual(self.model, channels, after.address, *addresses)
            if with_layer:
                out[p] = step.coefficients[0, :channels]
        return out, after

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
        if len(requests) == 1 or len({r.pcm.shape[1] for r in requests}) > 1:
            return [self.encode(*request) for request in requests]
        parts, states = _joined([r.state for r in requests])
        step = self._step(len(states.array))
        for r, part in zip(requests, parts, strict=True):
            step.levels[part] = r.level
        any_layer = any(self._has_waveform(r.level) for r in requests)
        pcm = np.concatenate([r.pcm for r in requests])
        gains, means, coefficients = self._encode(step, pcm, states, any_layer)
        for r, part in zip(requests, parts, strict=True):
            if any_layer and not self._has_waveform(r.level):
                coefficients[:, part] = 0
        return [
            (
                Means(r.level, gains[:, part], means[:, part], coefficients[:, part]),
                _part(states, part),
            )
            for r, part in zip(requests, parts, strict=True)
        ]

    def decode_many(self, requests: Sequence[DecodeRequest]) -> list[tuple[Pcm, State]]:
        """In one step for all streams, where their numbers of packets are the same."""
        if len(requests) == 1:  # a live talker: what costs is the number of calls to NumPy
            latents, packets, channels, level, state = requests[0]
            step, after = self._step(channels), Buffer.of(state.array.copy())
            step.levels.fill(level)
            step.lost.fill(latents is None)
            return [(self._decode(step, packets, [(slice(channels), latents)], after), after)]
        if len({r.packets for r in requests}) > 1:
            return [self.decode_many([request])[0] for request in requests]
        parts, states = _joined([r.state for r in requests])
        step = self._step(len(states.array))
        for r, part in zip(requests, parts, strict=True):
            step.levels[part], step.lost[part] = r.level, r.latents is None
        said = [(part, r.latents) for r, part in zip(requests, parts, strict=True)]
        pcm = self._decode(step, requests[0].packets, said, states)
        return [(pcm[part], _part(states, part)) for part in parts]

    def _has_waveform(self, level: int) -> bool:
        return level >= self.shape.base_levels

    def _encode(
        self, step: _Step, pcm: Pcm, states: State, with_layer: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """pcm [S, P * packet] -> gains [P, S], means [P, S, D] and coefficients [P, S, F, K], of
        streams at levels with the layer; the states change.
        """
        rows, size = len(pcm), self._packet
        gains, means, coefficients = [], [], []
        for start in range(0, pcm.shape[1], size):
            step.pcm[:rows] = pcm[:, start : start + size]
            self._library.sc_encode(self.model, rows, states.address, *step.encode[with_layer])
            gains.append(step.gains[:, :rows].copy())
            means.append(step.means[:, :rows].copy())
            if with_layer:
                coefficients.append(step.coefficients[:, :rows].copy())
        if not with_layer:
            coefficients = [np.zeros((len(gains), rows, *self._coefficients), np.float32)]
        if len(gains) == 1:
            return gains[0], means[0], coefficients[0]
        return np.concatenate(gains), np.concatenate(means), np.concatenate(coefficients)

    def _decode(
        self,
        step: _Step,
        packets: int,
        said: list[tuple[slice, Latents | None]],
        states: State,
    ) -> Pcm:
        """What was said of each stream, with its rows -> pcm [S, P * packet]; the states change."""
        rows, pcm = len(states.array), []
        with_layer = any(latents is not None and latents.waveform for _, latents in said)
        for p in range(packets):
            for part, latents in said:
                if latents is not None:
                    step.y[0, part], step.gains[0, part] = latents.y[p], latents.gain_index[p]
                if not with_layer:
                    continue
                if latents is None or latents.waveform is None:
                    step.bins[part] = 0
                    continue
                layer = latents.waveform
                step.bins[part] = layer.bins * layer.coded[p]
                step.q[0, part], step.steps[0, part] = layer.q[p], layer.steps[p]
            self._library.sc_decode(self.model, rows, states.address, *step.decode[with_layer])
            pcm.append(step.pcm[:rows].copy())
        return pcm[0] if packets == 1 else np.concatenate(pcm, 1)

    def _fresh(self, side: str) -> NDArray[np.float32]:
        size = getattr(self._library, f"sc_{side}_state_bytes")(self.model)
        state = np.zeros(size // 4, np.float32)
        getattr(self._library, f"sc_{side}_state_init")(self.model, address_of(state))
        return state

    def workspace(self, rows: int) -> int:
        """Address of this thread's memory for a step of so many rows: a coder's."""
        return self._step(rows).workspace.address

    def _step(self, rows: int) -> _Step:
        """This thread's memory for a step of so many rows."""
        kept: _Step | None = getattr(self._local, "step", None)
        if kept is None or kept.rows < rows:
            workspace_bytes = self._library.sc_workspace_bytes(self.model, rows)
            kept = _Step(rows, self.shape, workspace_bytes)
            self._local.step = kept
        return kept


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
    engine = NativeEngine(path, ModelShape.of(described.config), variant)
    return LoadedModel(engine, described.tables, described.level_bitrates_bps, described.hash)


def _joined(states: list[State]) -> tuple[list[slice], State]:
    """The rows of each, and all of them one behind the other, in memory of their own."""
    ends = accumulate((len(state.array) for state in states), initial=0)
    joined = Buffer.of(np.concatenate([state.array for state in states]))
    return [slice(a, b) for a, b in pairwise(ends)], joined


def _part(states: State, part: slice) -> State:
    """One stream's state, of all of them."""
    array = states.array
    return Buffer(array[part], states.address + part.start * array.strides[0])


def _mapped(path: Path) -> NDArray[np.uint8]:
    """The file as memory that is read when it is needed, and shared by all processes."""
    try:
        with path.open("rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
