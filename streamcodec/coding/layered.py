"""A stream with the waveform layer: its encoder follows what a decoder hears, because the layer
says how that differs from the sound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..engines.api import EncodeRequest, Means, State
from .coder import Coder
from .loudness import Loudness


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


def _followed(loudness: tuple[Loudness, ...], means: Means) -> tuple[Loudness, ...]:
    for gains in means.gain_index.tolist():
        loudness = tuple(
            talker.followed(gain) for talker, gain in zip(loudness, gains, strict=True)
        )
    return loudness
