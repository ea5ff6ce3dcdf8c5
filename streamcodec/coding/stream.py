"""PCM to payloads and back, as streams. Each stream owns its state; any number of them share one
CodecModel.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import HIGH_BAND_BYTES, MAX_PAYLOAD_BYTES, STEP_MS, CodecConfig, check_sample_rate
from ..engines.api import DecodeRequest, EncodeRequest, State
from ..errors import ConfigError, ContainerError, ModelError
from ..units import Pcm
from .container import StreamHeader
from .full_band import StreamJoiner, StreamSplitter, descriptions_in
from .model import CodecModel
from .pcm import Resampler, as_float_pcm, clipped
from .rate import rate_control

COPY_BPS = 3_000.0
COPY_OVERHEAD_BYTES = 1  # of a packet that carries one
DESCRIPTION_BPS = 8_000 * HIGH_BAND_BYTES / STEP_MS  # of the high band of a channel
# What copies may add to a target rate: an eighth of it, or what brings it to so many bit/s. The
# rest is saved in the packets themselves.
COPIES_ON_TOP, RATE_WITH_COPIES_BPS = 0.125, 13_500.0


class StreamEncoder:
    """One talker's encoder: PCM in any chunks, payloads out.

    Exactly one of `bitrate_bps` (mean payload rate of the whole stream; with `capped`, a limit that
    no payload exceeds), `quality` (0..1) and `level` (of the model's, for measurements) is given.
    `sample_rate` (Hz) and `channels` describe the PCM; with `downmix` two channels are averaged
    into one. With `joint_stereo` the second of two is told by the first where they are alike, if
    the model can. With `full_band` the sample rate is HIGH_BAND_FACTOR times the core's, and
    payloads describe what is above its band, for DESCRIPTION_BPS of a channel's rate (often half of
    it for the second in joint stereo), or with `high_band` False nothing. With `copies`, each
    payload has a coarser one beside it, of COPY_BPS or less, for a later packet to carry; `copying`
    says whether they are made for now. They add at most an eighth to a mean rate, or what brings it
    to RATE_WITH_COPIES_BPS. Raises ConfigError for settings outside their range.
    """

    def __init__(
        self,
        model: CodecModel,
        *,
        bitrate_bps: float | None = None,
        quality: float | None = None,
        level: int | None = None,
        capped: bool = False,
        sample_rate: int | None = None,
        channels: int = 1,
        downmix: bool = False,
        packet_ms: float = 20,
        copies: bool = False,
        full_band: bool = False,
        high_band: bool = True,
        joint_stereo: bool = True,
    ) -> None:
        if capped and copies:
            raise ConfigError(
                "a capped stream has no room for copies of earlier packets: "
                "they come on top of its rate"
            )
        samples = model.packet_samples(packet_ms)
        coded = 1 if downmix else channels
        joint = joint_stereo and coded == 2 and model.joint is not None
        core = model.stream_config(coded, samples, joint=joint)
        base_levels = model.engine.shape.base_levels
        core = dataclasses.replace(core, high_band=full_band and high_band)
        described_bps = DESCRIPTION_BPS if core.high_band else 0
        self._rate = rate_control(
            [rate + described_bps for rate in model.level_bitrates_bps],
            base_levels,
            core,
            bitrate_bps=bitrate_bps,
            quality=quality,
            level=level,
            capped=capped,
        )
        core = dataclasses.replace(core, base_level=self._rate.base_level)
        self.config: CodecConfig = core
        self._high_band = model.high_band if full_band else None
        if full_band:
            self.config = model.full_band(core)
        limit = min(self._rate.budget_bytes or MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES)
        self._limit = limit - self.config.description_bytes  # of the core's payload
        own_rate, self._source_channels = self.config.sample_rate, channels
        self._source_rate = own_rate if sample_rate is None else check_sample_rate(sample_rate)
        with_layer = self._rate.highest_level >= base_levels
        self._coder = model.coder(core, with_layer=with_layer)
        self._model_hash = model.hash
        self._high_band_hash = model.high_band_hash if core.high_band else ""
        self._joint_hash = model.joint_hash if joint else ""
        self.engine = model.engine
        self._resampler = Resampler(self._source_rate, own_rate, self.config.channels)
        base_bps = model.level_bitrates_bps[:base_levels]
        coarsest = max(0, bisect.bisect_right(base_bps, COPY_BPS) - 1)
        self._copy_level = min(coarsest, self.config.base_level)
        rate = bitrate_bps or math.inf
        on_top = max(COPIES_ON_TOP * rate, RATE_WITH_COPIES_BPS * self.config.channels - rate)
        self._free_copy_bytes = on_top * self.config.packet_ms / 8_000
        self.copying = copies
        # of the payloads that were given last, one each; empty where none was made
        self.copies: list[bytes] = []
        self.reset()

    def reset(self) -> None:
        """Forget all that was heard. The next payload must be decoded by a decoder that was reset
        as well.
        """
        self._state = self._coder.initial_state()
        self._spare_state: State | None = None  # that of the packet before
        self._waiting = np.zeros((0, self.config.channels), np.float32)
        self._received = 0
        self._resampler.reset()
        self._rate.reset()
        self._description = b""  # of the packet that is being encoded
        band = self._high_band
        self._splitter = None if band is None else StreamSplitter(band, self.config)

    def encode(self, pcm: NDArray[Any]) -> list[bytes]:
        """pcm int16 or float32 [T] or [T, channels], any T -> the payloads that it completes.

        Raises AudioError for samples that are not finite or of the wrong shape; the stream is then
        as it was before.
        """
        self._take(pcm)
        return self._encode_waiting()

    def _take(self, pcm: NDArray[Any]) -> None:
        source = as_float_pcm(pcm, self._source_channels, self._received)
        self.copies = []
        self._received += len(source)
        if self.config.channels < self._source_channels:
            source = source.mean(1, keepdims=True)
        self._wait(self._resampler.convert(source))

    def flush(self) -> list[bytes]:
        """The payloads that carry what is still waiting, padded with silence so that the decoder
        plays every sample. Then resets.
        """
        self.copies = []
        payloads = self._encode_whole_packets(self._resampler.flush())
        if self._received:
            tail = (
                -(len(self._waiting) + self.config.overlap) % self.config.packet_samples
                + self.config.overlap
            )
            payloads += self._encode_whole_packets(
                np.zeros((tail, self.config.channels), np.float32)
            )
        self.reset()
        return payloads

    def header(self, samples: int | None = None, payloads: int | None = None) -> StreamHeader:
        """Of a file with this stream, for `write_container`. samples: of the recording, at its own
        rate; payloads: how many there are. With None a reader cannot tell a cut file from a whole
        one.
        """
        return StreamHeader(
            model=self._model_hash,
            sample_rate=self.config.wire_sample_rate,
            packet_samples=self.config.wire_packet_samples,
            source_rate=self._source_rate,
            channels=self.config.channels,
            base_level=self.config.base_level,
            samples=None if samples is None else operator.index(samples),
            payloads=None if payloads is None else operator.index(payloads),
            high_band=self._high_band_hash,
            joint_stereo=self._joint_hash,
        )

    def drop_waiting(self) -> None:
        """Forgets what waits for its packet to be full."""
        self._waiting = self._waiting[:0]

    def _encode_whole_packets(self, pcm: Pcm) -> list[bytes]:
        self._wait(pcm)
        return self._encode_waiting()

    def _encode_waiting(self) -> list[bytes]:
        payloads = []
        while request := self._request():
            made = self._coder.encode(request, self._spare_state)
            payloads.append(self._accept(request, *made))
        return payloads

    def _wait(self, pcm: Pcm) -> None:
        """pcm [T, C] at the model's rate is encoded when its packet is full."""
        self._waiting = np.concatenate([self._waiting, pcm]) if len(self._waiting) else pcm

    def _request(self) -> EncodeRequest | None:
        """What the engine is to do for the packet that waits; None while it is not full."""
        # Every packet takes the same path on the same shapes, whatever chunks it came in: payloads
        # are identical to the byte.
        size = self.config.packet_samples
        if len(self._waiting) < size:
            return None
        pcm = self._waiting[:size]
        if self._splitter is not None:
            pcm, self._description = self._splitter.split(pcm)
        return EncodeRequest(pcm.T, self._rate.next_level(), self._state)

    def _accept(self, request: EncodeRequest, payload: bytes, after: State) -> bytes:
        """The payload, or one that is short enough; with it the packet is done."""
        level, pcm = request.level, request.pcm
        while len(payload) > self._limit and level > 0:
            level -= 1
            payload, after = self._coder.encode(EncodeRequest(pcm, level, self._state))
        if len(payload) > self._limit:
            payload, after = self._coder.shortened(EncodeRequest(pcm, 0, self._state), self._limit)
        copy = self._copy(pcm, payload, level) + self._description if self.copying else b""
        payload += self._description
        self.copies.append(copy)
        self._waiting = self._waiting[self.config.packet_samples :]
        self._state, self._spare_state = after, self._state
        self._rate.spent(len(payload) + self._charge(copy), level)
        return payload

    def _charge(self, copy: bytes) -> float:
        """Bytes of a copy that the rate control must save."""
        size = len(copy) + COPY_OVERHEAD_BYTES
        return max(0.0, size - self._free_copy_bytes) if copy else 0.0

    def _copy(self, pcm: Pcm, payload: bytes, level: int) -> bytes:
        if level <= self._copy_level:
            return payload
        return self._coder.copy(EncodeRequest(pcm, self._copy_level, self._state))


class StreamDecoder:
    """One talker's decoder: a payload in, its PCM out; None in, concealment out.

    `config` is that of the stream's encoder; from a stream's info `CodecModel.stream_config` makes
    one, and of that `CodecModel.full_band` one whose PCM is full band, whether the stream describes
    its high band or not. `high_band`: names the tables that it was described with; None for the
    model's. With others there is silence above the core's band. For a file take `from_header`.
    `sample_rate` (Hz) is that of the PCM wanted; None takes the config's.
    """

    def __init__(
        self,
        model: CodecModel,
        config: CodecConfig,
        *,
        sample_rate: int | None = None,
        high_band: str | None = None,
    ) -> None:
        self.config = config
        self._understood = high_band in (None, model.high_band_hash)
        core = model.stream_config(
            config.channels, config.wire_packet_samples, config.base_level, joint=config.joint
        )
        self._coder = model.coder(core)
        self._high_band = model.high_band if config.widening > 1 else None
        self._described: list[bytes] | None = None  # of the packet that is being decoded
        self.engine = model.engine
        own_rate = self.config.sample_rate
        self.sample_rate = own_rate if sample_rate is None else check_sample_rate(sample_rate)
        self._resampler = Resampler(own_rate, self.sample_rate, config.channels)
        self.reset()

    @classmethod
    def from_header(
        cls, model: CodecModel, header: StreamHeader, *, wideband: bool = False
    ) -> StreamDecoder:
        """For a file's payloads, at the rate of the recording; with `wideband` without what they
        say of the high band. Raises ModelError where they were made with another model,
        ContainerError for a header that this model cannot have written.
        """
        if header.model != model.hash:
            raise ModelError(f"made with model {header.model}, and this is {model.hash}")
        if header.joint_stereo not in ("", model.joint_hash):
            raise ModelError(
                f"made with tables {header.joint_stereo} for joint stereo, and this model has "
                f"{model.joint_hash or 'none'}"
            )
        try:
            config = model.stream_config(
                *(header.channels, header.packet_samples, header.base_level),
                joint=bool(header.joint_stereo),
            )
        except ConfigError as error:
            raise ContainerError(f"stream header: {error}") from error
        if header.sample_rate != config.sample_rate:
            raise ContainerError(
                f"stream header: sample_rate must be {config.sample_rate}, the model's, "
                f"got {header.sample_rate}"
            )
        config = dataclasses.replace(config, high_band=bool(header.high_band))
        if config.high_band and model.high_band is not None and not wideband:
            config = model.full_band(config)
        return cls(model, config, sample_rate=header.source_rate, high_band=header.high_band)

    def reset(self, *, begins: bool = True) -> None:
        """Forget all that was decoded: what a stream's first payload expects. A joiner in
        mid-stream starts here too. begins: whether the encoder begins anew as well. If it does not,
        and payloads were left out (silence), levels of the high band stay as they were told last:
        what is told next is nearer to those than to none.
        """
        self._state = self.engine.initial_decoder_state(self.config.channels)
        self._level = 0
        self._resampler.reset()
        band = self._high_band
        if begins:
            self._joiner = None if band is None else StreamJoiner(band, self.config)

    def decode(self, payload: bytes | None) -> Pcm:
        """-> float32 [T, channels] in -1..1, `config.overlap` samples later than what was encoded.

        At the model's rate T is always `config.packet_samples`; at another it varies by a sample,
        and the first call gives fewer. Raises PayloadError for bytes that are no payload; the
        stream is then as it was before.
        """
        of_core = self._taken_apart(payload)
        pcm, self._level, self._state = self._coder.decode(of_core, self._level, self._state)
        return self._resampler.convert(self._joined(pcm.T, lost=payload is None))

    def _request(self, payload: bytes | None) -> DecodeRequest:
        """What the engine is to do. Raises PayloadError."""
        return self._coder.request(self._taken_apart(payload), self._level, self._state)

    def _taken_apart(self, payload: bytes | None) -> bytes | None:
        """-> the core's payload; the description of the high band is kept. Raises PayloadError."""
        self._described = None
        if payload is None:
            return None
        payload = bytes(payload)  # of any buffer
        if not self.config.high_band:
            return payload
        described = descriptions_in(payload, self.config)
        self._described = described if self._understood else None
        return payload[: -sum(map(len, described))]

    def _joined(self, core: Pcm, *, lost: bool) -> Pcm:
        """[T, C] of the core -> at the stream's rate."""
        if self._joiner is None:
            return core
        pcm = self._joiner.join(core, self._described, lost=lost)
        return clipped(pcm, pcm)

    def _accept(self, request: DecodeRequest, pcm: Pcm, after: State) -> Pcm:
        """What the engine has done -> PCM [T, channels]."""
        self._level, self._state = request.level, after
        pcm = clipped(pcm.T, pcm.T)
        return self._resampler.convert(self._joined(pcm, lost=request.latents is None))

    def flush(self) -> Pcm:
        """What the sample-rate converter still holds: [T, channels], empty at the model's
        own rate.
        """
        return self._resampler.flush()


def encode_together(
    encoders: Sequence[StreamEncoder], pcm: Sequence[NDArray[Any]]
) -> list[list[bytes]]:
    """`StreamEncoder.encode` for each of several streams of one model, in steps that they share.

    Raises AudioError for what one of them refuses; the streams before it have then taken theirs.
    """
    for encoder, samples in zip(encoders, pcm, strict=True):
        encoder._take(samples)
    if len(encoders) == 1:
        return [encoders[0]._encode_waiting()]
    payloads: list[list[bytes]] = [[] for _ in encoders]
    while True:
        full = [
            (e, r, out) for e, out in zip(encoders, payloads, strict=True) if (r := e._request())
        ]
        if not full:
            return payloads
        done = full[0][0].engine.encode_many([e._coder.of_engine(r) for e, r, _ in full])
        for (encoder, request, out), made in zip(full, done, strict=True):
            out.append(encoder._accept(request, *encoder._coder.quantise(request, *made)))


def decode_together(
    decoders: Sequence[StreamDecoder], payloads: Sequence[bytes | None]
) -> list[Pcm]:
    """`StreamDecoder.decode` for each of several streams of one model, in a step that they share.

    Raises PayloadError for a malformed payload; all streams are then as they were before.
    """
    if len(decoders) == 1:
        return [d.decode(payload) for d, payload in zip(decoders, payloads, strict=True)]
    requests = [d._request(payload) for d, payload in zip(decoders, payloads, strict=True)]
    if not requests:
        return []
    done = decoders[0].engine.decode_many(requests)
    return [d._accept(r, *result) for d, r, result in zip(decoders, requests, done, strict=True)]
