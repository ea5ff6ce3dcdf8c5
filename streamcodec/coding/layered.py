"""A stream with the waveform layer: its encoder follows what a decoder hears, because the layer
says how that differs from the sound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..config import CodecConfig
from ..engines.api import EncodeRequest, Means, State
from ..native.library import Buffer, address_of, required_library
from .coder import Coder, NativeEngine
from .loudness import Loudness
from .native_bitstream import NativeBitstream, checked_size

TALKER = np.dtype([("peak", "f8"), ("heard", "i4"), ("named", "i4")])  # ScTalker of streamcodec.h


class Followed(NamedTuple):
    """An encoder's state, that of a decoder which has had its payloads, and the loudness of each
    channel.
    """

    encoder: State
    decoder: State
    loudness: tuple[Loudness, ...]


class LayeredCoder(Coder):
    """As `Coder`; states are `Followed`."""

    def initial_state(self) -> Followed:
        channels = self._config.channels
        return Followed(
            self._engine.initial_encoder_state(channels),
            self._engine.initial_decoder_state(channels),
            (Loudness(),) * channels,
        )

    def of_engine(self, request: EncodeRequest) -> EncodeRequest:
        return request._replace(state=request.state.encoder)

    def quantise(
        self, request: EncodeRequest, means: Means, after: State
    ) -> tuple[bytes, Followed]:
        state, base_level = request.state, self._config.base_level
        loudness = _followed(state.loudness, means)
        if self._bitstream.has_waveform(means.level):
            latents = self._bitstream.quantise(means)
            residual, decoder = self._engine.residual(means, latents, state.decoder)
            named = np.array([talker.named for talker in loudness], np.int32)
            _, payload = self._bitstream.encode_waveform(latents, residual, named, base_level)
        else:
            latents, payload = self._bitstream.encode(means, base_level)
            _, decoder = self._engine.residual(means, latents, state.decoder)
        return payload, Followed(after, decoder, loudness)

    def copy(self, request: EncodeRequest) -> bytes:
        """Nobody decodes it but in place of a lost packet: it is not followed."""
        means, _ = self._engine.encode(*self.of_engine(request))
        return self._bitstream.encode(means, self._config.base_level)[1]

    def shortened(self, request: EncodeRequest, limit: int) -> tuple[bytes, Followed]:
        state = request.state
        means, after = self._engine.encode(*self.of_engine(request))
        latents, _ = self._bitstream.encode(means, self._config.base_level)
        latents, payload = self._shortest(latents, limit)
        _, decoder = self._engine.residual(means, latents, state.decoder)
        return payload, Followed(after, decoder, _followed(state.loudness, means))


class NativeLayeredCoder(LayeredCoder):
    """In one call, as `NativeCoder`."""

    def __init__(
        self, engine: NativeEngine, bitstream: NativeBitstream, config: CodecConfig
    ) -> None:
        super().__init__(engine, bitstream, config)
        self._encode, self._workspace = (
            required_library().sc_payload_encode_followed,
            engine.workspace,
        )
        self._models = (engine.model, bitstream.opened)
        self._shape = (config.steps, config.channels, config.base_level)
        self._pcm = np.empty((config.channels, config.packet_samples), np.float32)
        self._payload = bitstream.buffer(config.steps * config.channels)
        self._talkers = np.empty(config.channels, TALKER)
        arrays = (self._talkers, self._pcm, self._payload)
        self._encodes = (*map(address_of, arrays), len(self._payload))

    def encode(
        self, request: EncodeRequest, spare: Followed | None = None
    ) -> tuple[bytes, Followed]:
        """As `Coder.encode`."""
        pcm, level, (encoder, decoder, loudness) = request
        self._pcm[...], self._talkers[...] = pcm, list(loudness)
        after = (
            [Buffer.of(np.empty_like(state.array)) for state in (encoder, decoder)]
            if spare is None
            else spare[:2]
        )
        size = self._encode(
            *(*self._models, *self._shape, level),
            *(encoder.address, after[0].address, decoder.address, after[1].address),
            *(*self._encodes, self._workspace(self._config.channels)),
        )
        payload = self._payload[: checked_size(size)].tobytes()
        talkers = tuple(Loudness(*talker) for talker in self._talkers.tolist())
        return payload, Followed(after[0], after[1], talkers)


def _followed(loudness: tuple[Loudness, ...], means: Means) -> tuple[Loudness, ...]:
    for gains in means.gain_index.tolist():
        loudness = tuple(
            talker.followed(gain) for talker, gain in zip(loudness, gains, strict=True)
        )
    return loudness
