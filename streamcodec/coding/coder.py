"""A stream's packets to payloads and back: an engine's step and the bitstream, one after the other
or in one call of the C library.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..config import CodecConfig
from ..engines.api import DecodeRequest, EncodeRequest, Engine, Latents, Means, State
from ..native.library import Buffer, address_of, required_library
from ..tables import GAIN_MIN
from ..units import Pcm
from .bitstream import Bitstream, check_size
from .native_bitstream import NativeBitstream, checked_size, raise_refusal
from .pcm import clipped


class Coder:
    """Of one stream; keeps nothing of it. Streams that share a step take engine and bitstream."""

    def __init__(
        self, engine: Engine, bitstream: Bitstream | NativeBitstream, config: CodecConfig
    ) -> None:
        self._engine, self._bitstream, self._config = engine, bitstream, config

    def initial_state(self) -> State:
        """Of an encoder."""
        return self._engine.initial_encoder_state(self._config.channels)

    def encode(self, request: EncodeRequest, spare: State | None = None) -> tuple[bytes, State]:
        """-> the payload, new state; the one that was handed in stays valid. `spare`: an old state
        that nobody needs any more, whose memory may become that of the new one.
        """
        return self.quantise(request, *self._engine.encode(*self.of_engine(request)))

    def of_engine(self, request: EncodeRequest) -> EncodeRequest:
        """What the engine is to do of it, where streams share a step."""
        return request

    def quantise(self, request: EncodeRequest, means: Means, after: State) -> tuple[bytes, State]:
        """What the engine has done of `request` -> as `encode`."""
        return self._bitstream.encode(means, self._config.base_level)[1], after

    def copy(self, request: EncodeRequest) -> bytes:
        """The payload at another level, for another packet to carry."""
        return self.encode(request)[0]

    def shortened(self, request: EncodeRequest, limit: int) -> tuple[bytes, State]:
        """As `encode` at level 0, for a payload that is longer than `limit` bytes there: with as
        many leading latents (the strongest of the lapped transform) as fit.
        """
        means, after = self._engine.encode(*self.of_engine(request))
        latents, _ = self._bitstream.encode(means, self._config.base_level)
        return self._shortest(latents, limit)[1], after

    def _shortest(self, latents: Latents, limit: int) -> tuple[Latents, bytes]:
        low, high = 0, latents.y.shape[2]
        best: tuple[Latents, bytes] | None = None
        while low < high:
            keep = (low + high) // 2
            y = latents.y.copy()
            y[:, :, keep:] = 0
            fewer = latents._replace(y=y)
            payload = self._bitstream.serialize(fewer, self._config.base_level)
            if len(payload) <= limit:
                low, best = keep + 1, (fewer, payload)
            else:
                high = keep
        if best:
            return best
        gains = np.full_like(latents.gain_index, GAIN_MIN)
        silent = latents._replace(gain_index=gains, y=np.zeros_like(latents.y))
        return silent, self._bitstream.serialize(silent, self._config.base_level)

    def request(self, payload: bytes | None, level: int, state: State) -> DecodeRequest:
        """What an engine is to do for a payload; None is concealed at `level`. Raises
        PayloadError.
        """
        packets, channels = self._config.steps, self._config.channels
        if payload is None:
            return DecodeRequest(None, packets, channels, level, state)
        latents = self._bitstream.parse(payload, packets, channels, self._config.base_level)
        return DecodeRequest(latents, packets, channels, latents.level, state)

    def decode(self, payload: bytes | None, level: int, state: State) -> tuple[Pcm, int, State]:
        """-> pcm [C, P * packet] within full scale, its level, new state; None is concealed at
        `level`. The state that was handed in is only valid after an error. Raises PayloadError.
        """
        request = self.request(payload, level, state)
        pcm, after = self._engine.decode_many([request])[0]
        return clipped(pcm, pcm), request.level, after


class NativeEngine(Engine, Protocol):
    """An engine by the C library: its model, and where memory for a step of this thread lies."""

    @property
    def model(self) -> Any: ...

    def workspace(self, rows: int) -> int: ...


class NativeCoder(Coder):
    """In one call. Where there is one stream alone, calls to NumPy and ctypes cost as much as half
    of the network: so this keeps what goes in and out, and the addresses of it.
    """

    def __init__(
        self, engine: NativeEngine, bitstream: NativeBitstream, config: CodecConfig
    ) -> None:
        super().__init__(engine, bitstream, config)
        library, self._workspace = required_library(), engine.workspace
        self._encode, self._decode = library.sc_payload_encode, library.sc_payload_decode
        self._channels = config.channels
        packets, base_level = config.steps, config.base_level
        self._models = (engine.model, bitstream.opened)
        self._shape = (packets, config.channels, base_level)
        self._pcm = np.empty((config.channels, config.packet_samples), np.float32)
        self._payload = bitstream.buffer(packets * config.channels)
        self._told = np.zeros(2, np.int32)  # the level, and what says more of an error
        self._pcm_at, self._told_at = address_of(self._pcm), address_of(self._told)
        self._encodes = (self._pcm_at, address_of(self._payload), len(self._payload))
        self._decodes = (self._pcm_at, self._told_at + self._told.itemsize)

    def encode(self, request: EncodeRequest, spare: State | None = None) -> tuple[bytes, State]:
        """As `Coder.encode`."""
        pcm, level, state = request
        self._pcm[...] = pcm
        after = Buffer.of(np.empty_like(state.array)) if spare is None else spare
        states = (state.address, after.address)
        workspace = self._workspace(self._channels)
        size = self._encode(*self._models, *self._shape, level, *states, *self._encodes, workspace)
        return self._payload[: checked_size(size)].tobytes(), after

    def decode(self, payload: bytes | None, level: int, state: State) -> tuple[Pcm, int, State]:
        """As `Coder.decode`."""
        size = 0
        if payload is not None:
            check_size(payload)
            size = len(payload)
        told = self._told
        told[0] = level
        status = self._decode(
            *(*self._models, payload, size, *self._shape),
            *(self._told_at, state.address, state.address, *self._decodes),
            self._workspace(self._channels),
        )
        if status != 0:
            raise_refusal(status, int(told[1]), payload)
        return self._pcm.copy(), int(told[0]), state
