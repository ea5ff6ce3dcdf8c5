"""What the live path asks of a codec: three protocols, and the implementation by streamcodec's
streams. Tests bring fakes that need no model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, cast

from streamcodec.coding.model import CodecModel, load_model
from streamcodec.coding.stream import StreamDecoder, StreamEncoder, decode_together
from streamcodec.config import CodecConfig
from streamcodec.errors import PayloadError
from streamcodec.units import Pcm
from streamcodec.wire.session import StreamInfo

Band: TypeAlias = Literal["auto", "full", "wide"]
LEAST_FULL_BAND_BPS = 4_000  # of a channel


@dataclasses.dataclass(frozen=True)
class EncodingSettings:
    """How a talker's voice is encoded. Exactly one of bitrate_bps and quality is given."""

    bitrate_bps: float | None  # mean payload rate of the whole stream
    quality: float | None = None  # 0 to 1
    capped: bool = False  # bitrate_bps is a limit that no payload exceeds
    channels: int = 1
    packet_ms: int = 20
    # how many packets back the coarser copy lies that each packet carries where listeners take it;
    # None: sent while they lose packets
    redundancy: int | None = None

    @property
    def copies(self) -> int | None:
        """`redundancy`, but for a capped stream, which has no room for copies unless they are asked
        for: then the encoder says so.
        """
        return 0 if self.capped and self.redundancy is None else self.redundancy


class Encoder(Protocol):
    """One talker's stream: PCM in, payloads out. Not thread-safe, except for `copying`."""

    @property
    def config(self) -> CodecConfig: ...

    copying: bool
    """Whether a coarser copy of each payload is made too, which costs another run of the network.
    May be set from any thread; counts from the next payload on.
    """

    @property
    def copies(self) -> list[bytes]:
        """For each payload that `encode` or `flush` returned last, its coarser copy; b"" where none
        was made.
        """
        ...

    def encode(self, pcm: Pcm) -> list[bytes]:
        """float32 [T, C] at the codec's sample rate, any T -> the payloads that it completes.
        Raises AudioError for samples that are not finite.
        """
        ...

    def flush(self) -> list[bytes]:
        """The payloads that carry what still waits, padded with silence; then resets."""
        ...

    def drop_waiting(self) -> None:
        """Forgets what waits for its packet to be full."""
        ...

    def reset(self) -> None:
        """Forgets all that was heard. The decoder must be reset before the next payload."""
        ...


class Decoder(Protocol):
    """One talker's stream: payloads in, PCM out. Not thread-safe."""

    def decode(self, payload: bytes | None) -> Pcm:
        """A payload, or None to conceal a lost one -> float32 [packet_samples, C] at the codec's
        sample rate. Raises PayloadError for a broken payload, and then is as it was before.
        """
        ...

    def reset(self, *, begins: bool = True) -> None:
        """Forgets all that was decoded: the next payload begins a stream, or if it does not begin
        one, lies behind a gap.
        """
        ...


class Codec(Protocol):
    """One set of weights; any number of encoders and decoders share it."""

    @property
    def hash(self) -> str:
        """Names the weights, 16 hex digits. Talker and listener must have the same."""
        ...

    @property
    def sample_rate(self) -> int:
        """Of all encoders and decoders, in Hz."""
        ...

    @property
    def widening(self) -> int:
        """How many times the rate that streams have on the wire the sample rate is."""
        ...

    @property
    def high_band(self) -> str:
        """Names the tables of the high band, 16 hex digits; "" for a codec that has none."""
        ...

    @property
    def joint_stereo(self) -> str:
        """Names the tables that tell one channel by another, as `high_band`."""
        ...

    @property
    def overlap_samples(self) -> int:
        """How far a decoder's output lags its encoder's input."""
        ...

    @property
    def slowest_step_ms(self) -> float:
        """How long a packet may take on a busy core."""
        ...

    @property
    def packet_sizes(self) -> tuple[int, ...]:
        """Samples of each channel that a payload may hold, ascending."""
        ...

    def encoder(self, settings: EncodingSettings) -> Encoder:
        """Raises ConfigError for settings that the model does not allow."""
        ...

    def decoder(self, info: StreamInfo) -> Decoder:
        """Raises ConfigError for a stream that the model cannot decode."""
        ...

    def decode(
        self, decoders: Sequence[Decoder], payloads: Sequence[bytes | None]
    ) -> list[Pcm | PayloadError]:
        """What `Decoder.decode` returns or raises, for each of several decoders of this codec, in a
        step that they share.
        """
        ...

    def enter_thread(self) -> None:
        """Called once by each thread that encodes or decodes, before it does."""
        ...


def decode_one(decoder: Decoder, payload: bytes | None) -> Pcm | PayloadError:
    """The PCM, or why there is none."""
    try:
        return decoder.decode(payload)
    except PayloadError as error:
        return error


class ModelCodec:
    """A CodecModel as a Codec, at the full rate or at its core's."""

    def __init__(
        self, model: CodecModel, *, full_band: bool = False, at_low_rates: bool = True
    ) -> None:
        """at_low_rates: streams describe the high band at any rate, not only where
        `affords_high_band`. Raises ConfigError where it is to be full band, and the model is not.
        """
        self._at_low_rates = at_low_rates
        config = model.full_band(model.config) if full_band else model.config
        self._model = model
        self.hash = model.hash
        self.sample_rate, self.widening = config.sample_rate, config.widening
        self.high_band = model.high_band_hash if full_band else ""
        self.joint_stereo = model.joint_hash
        self.overlap_samples = config.overlap
        self.packet_sizes = tuple(size * self.widening for size in model.packet_sizes)
        self.slowest_step_ms = model.engine.slowest_step_ms

    def encoder(self, settings: EncodingSettings) -> Encoder:
        return StreamEncoder(
            self._model,
            bitrate_bps=settings.bitrate_bps,
            quality=settings.quality,
            capped=settings.capped,
            channels=settings.channels,
            packet_ms=settings.packet_ms,
            copies=settings.copies != 0,
            full_band=self.widening > 1,
            high_band=self._at_low_rates
            or affords_high_band(settings.bitrate_bps, settings.channels),
        )

    def decoder(self, info: StreamInfo) -> Decoder:
        config = self._model.stream_config(
            *(info.channels, info.packet_samples, info.base_level), joint=bool(info.joint_stereo)
        )
        config = dataclasses.replace(config, high_band=bool(info.high_band))
        if self.widening == 1:
            return StreamDecoder(self._model, config)
        config = self._model.full_band(config)
        return StreamDecoder(self._model, config, high_band=info.high_band)

    def decode(
        self, decoders: Sequence[Decoder], payloads: Sequence[bytes | None]
    ) -> list[Pcm | PayloadError]:
        """As `Codec.decode`."""
        try:
            return list(decode_together(cast(Sequence[StreamDecoder], decoders), payloads))
        except PayloadError:  # then none of them has decoded anything
            return [decode_one(d, payload) for d, payload in zip(decoders, payloads, strict=True)]

    def enter_thread(self) -> None:
        self._model.engine.enter_thread()


def load_codec(
    model: str | Path | None,
    device: str,
    engine: str = "auto",
    band: Band = "wide",
    rate: int | None = None,
) -> ModelCodec:
    """As load_model, which takes seconds with PyTorch; and as `codec_of`. Raises ModelError,
    ConfigError.
    """
    return codec_of(load_model(model, device, engine), band, rate)


def codec_of(model: CodecModel, band: Band = "wide", rate: int | None = None) -> ModelCodec:
    """As `is_full_band` says. Raises ConfigError for a full band that the model does not have."""
    full_band = is_full_band(model, band, rate)
    return ModelCodec(model, full_band=full_band, at_low_rates=band == "full")


def affords_high_band(bitrate_bps: float | None, channels: int) -> bool:
    """Whether a stream of this rate, or of constant quality, should describe it: below, words
    suffer more by what that takes than the sound gains.
    """
    return bitrate_bps is None or bitrate_bps >= LEAST_FULL_BAND_BPS * channels


def is_full_band(model: CodecModel, band: Band, rate: int | None) -> bool:
    """What `band` asks for; auto: where the model can be, and `rate` (Hz), of what is sent, is
    above its core's, or None.
    """
    useful = rate is None or rate > model.config.sample_rate
    return band == "full" or (band == "auto" and useful and model.high_band is not None)
