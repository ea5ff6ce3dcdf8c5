"""What the live path asks of a codec. streamcodec's streams fit it; so do the fakes of the tests,
which need no model.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from streamcodec.coding.model import CodecModel, load_model
from streamcodec.coding.stream import StreamDecoder, StreamEncoder
from streamcodec.config import CodecConfig
from streamcodec.units import Pcm
from streamcodec.wire.session import StreamInfo


@dataclasses.dataclass(frozen=True)
class EncodingSettings:
    """What is spent on the voice: either a bit rate or a quality."""

    bitrate_bps: float | None
    quality: float | None = None
    capped: bool = False
    channels: int = 1
    latents_per_payload: int = 1
    # of how many packets before it each carries a coarser copy, where listeners take them
    redundancy: int = 0


class Encoder(Protocol):
    """As streamcodec.StreamEncoder, at the model's own rate."""

    @property
    def config(self) -> CodecConfig: ...

    copying: bool
    """Whether coarser payloads are made beside the others. They cost another run of the network."""

    @property
    def copies(self) -> list[bytes]:
        """A coarser payload of each that `encode` or `flush` gave last; empty where none
        was made.
        """
        ...

    def encode(self, pcm: Pcm) -> list[bytes]: ...

    def flush(self) -> list[bytes]: ...

    def reset(self) -> None: ...


class Decoder(Protocol):
    """As streamcodec.StreamDecoder, at the model's own rate."""

    def decode(self, payload: bytes | None) -> Pcm:
        """One payload, or None to conceal one -> float32 [packet_samples, C]. Raises
        PayloadError.
        """
        ...

    def reset(self) -> None: ...


class Codec(Protocol):
    """One set of weights. Encoders and decoders work at `sample_rate`."""

    @property
    def hash(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def overlap_samples(self) -> int:
        """By which what is decoded comes behind what was encoded."""
        ...

    def packet_samples(self, latents_per_payload: int) -> int: ...

    def encoder(self, settings: EncodingSettings) -> Encoder: ...

    def decoder(self, info: StreamInfo) -> Decoder:
        """Raises ConfigError for what the model cannot do."""
        ...

    def enter_thread(self) -> None:
        """Called once by each thread that encodes or decodes, before it does."""
        ...


class ModelCodec:
    """A CodecModel as the live path sees it."""

    def __init__(self, model: CodecModel) -> None:
        self._model = model
        self.hash = model.hash
        self.sample_rate = model.config.sample_rate
        self.overlap_samples = model.config.overlap

    def packet_samples(self, latents_per_payload: int) -> int:
        return self._model.stream_config(1, latents_per_payload).packet_samples

    def encoder(self, settings: EncodingSettings) -> Encoder:
        return StreamEncoder(
            self._model,
            bitrate_bps=settings.bitrate_bps,
            quality=settings.quality,
            capped=settings.capped,
            channels=settings.channels,
            latents_per_payload=settings.latents_per_payload,
            copies=settings.redundancy > 0,
        )

    def decoder(self, info: StreamInfo) -> Decoder:
        config = self._model.stream_config(info.channels, info.latents_per_payload, info.base_level)
        return StreamDecoder(self._model, config)

    def enter_thread(self) -> None:
        self._model.engine.enter_thread()


def load_codec(model: str | None, device: str) -> Codec:
    """Takes seconds with PyTorch, most of them its import. Raises ModelError, ConfigError."""
    return ModelCodec(load_model(model, device=device))
