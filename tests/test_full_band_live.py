"""Full-band talkers and listeners: times on the wire are the core's, what is heard is at 48 kHz,
and whoever works at 16 kHz hears the same voice.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fakes import ManualClock
from streamcodec import CodecModel, load_model
from streamcodec.errors import StreamcodecError
from streamcodec.live.adaptive import DEFAULT_BOUNDS
from streamcodec.units import NS, Pcm
from streamcodec.wire.packet import Packet
from streamcodec.wire.session import Capture, StreamInfo, StreamStart
from streamcodec_client.audio.blocks import Block
from streamcodec_client.live.admission import Admission
from streamcodec_client.live.codec import Band, EncodingSettings, ModelCodec, codec_of
from streamcodec_client.live.outgoing import Outgoing
from streamcodec_client.live.packetizer import Packetizer
from streamcodec_client.live.player import StreamPlayer
from streamcodec_client.live.sender import stream_info
from streamcodec_client.report.trace import NO_TRACE

RATE, SECONDS = 48_000, 2
BLOCK_MS = 10


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return load_model(device="cpu")


def sibilant() -> Pcm:
    """Hiss between 5 and 12 kHz, [T, 1]."""
    noise = np.random.default_rng(0).standard_normal(SECONDS * RATE)
    spectrum = np.fft.rfft(noise)
    hz = np.fft.rfftfreq(len(noise), 1 / RATE)
    spectrum[(hz < 5_000) | (hz > 12_000)] = 0
    return (0.2 * np.fft.irfft(spectrum, len(noise))).astype(np.float32)[:, None]


def said(codec: ModelCodec, rate: int = RATE) -> tuple[StreamInfo, list[Outgoing]]:
    """What a microphone of `rate` Hz makes of it."""
    encoder = codec.encoder(EncodingSettings(bitrate_bps=9_000))
    info = stream_info(codec, encoder.config, 9_000)
    packetizer = Packetizer(encoder, info, rate, ManualClock())
    pcm, size = sibilant()[:: RATE // rate], BLOCK_MS * rate // 1000
    sent = []
    for first in range(0, len(pcm), size):
        captured_ns = (first + size) * NS // rate
        sent += packetizer.push(Block(pcm[first : first + size], first, captured_ns), 1)
    return info, sent


def heard(
    codec: ModelCodec, info: StreamInfo, packets: list[Packet]
) -> tuple[StreamPlayer, Pcm, int]:
    """Packets that come in time -> the player, what it plays, and of what rate."""
    clock = ManualClock()
    admission = Admission(codec, clock, NO_TRACE, DEFAULT_BOUNDS)
    player = admission.player(StreamStart(1, "Ada", info))
    size, blocks = BLOCK_MS * codec.sample_rate // 1000, []
    player.capture_clock(Capture(0, 0.0))
    for packet in packets:
        player.receive(packet, clock.now_ns(), tls=False)
        for _ in range(2):
            block, answer = player.pull(size), None
            try:
                while True:
                    answer = player.decoder.decode(
                        next(block) if answer is None else block.send(answer)
                    )
            except StopIteration as end:
                blocks.append(np.zeros((size, 1), np.float32) if end.value is None else end.value)
            player.heard(clock.now_ns(), 0.0)
            clock.advance(BLOCK_MS)
    return player, np.concatenate(blocks)[:, 0], codec.sample_rate


def share_above(pcm: Pcm, rate: int, hz: float) -> float:
    power = np.square(np.abs(np.fft.rfft(pcm)))
    return float(power[np.fft.rfftfreq(len(pcm), 1 / rate) >= hz].sum() / power.sum())


def test_times_on_the_wire_are_the_cores(model: CodecModel) -> None:
    info, sent = said(codec_of(model, "full"))
    assert (info.sample_rate, info.packet_samples) == (16_000, 320)
    assert info.high_band == model.high_band_hash
    assert [o.packet.capture_time for o in sent] == [320 * n for n in range(len(sent))]
    wide, _ = said(codec_of(model, "wide"), 16_000)
    assert wide == dataclasses.replace(info, high_band="", base_level=wide.base_level)


@pytest.mark.parametrize("first", [0, (1 << 32) - 16_000])  # times wrap a second in
def test_a_full_band_talker_is_heard_at_both_rates(model: CodecModel, first: int) -> None:
    info, sent = said(codec_of(model, "full"))
    packets = [
        dataclasses.replace(o.packet, capture_time=(o.packet.capture_time + first) % (1 << 32))
        for o in sent
    ]
    heard_below = []
    for band, least_above in (("full", 0.4), ("wide", 0.0)):
        player, pcm, rate = heard(codec_of(model, band), info, packets)
        statistics = player.statistics()
        assert (statistics.playout.concealed, statistics.bad_payloads) == (0, 0)
        assert share_above(pcm, rate, 8_000) >= least_above
        # at 16 kHz the stretcher takes something of what is above 6 kHz
        heard_below.append(np.square(pcm).mean() * (1 - share_above(pcm, rate, 6_000)))
    assert heard_below[0] == pytest.approx(heard_below[1], rel=0.1)


def test_mouth_to_ear_is_the_same_at_both_rates(model: CodecModel) -> None:
    info, sent = said(codec_of(model, "full"))
    delays = []
    for band in ("full", "wide"):
        player, *_ = heard(codec_of(model, band), info, [o.packet for o in sent])
        delay_ms = player.statistics().mouth_to_ear_ms
        assert delay_ms is not None
        delays.append(delay_ms)
    assert delays[0] == pytest.approx(delays[1] + 1.2, abs=1)  # the filters' delay


def test_a_wideband_talker_is_heard_by_a_full_band_listener(model: CodecModel) -> None:
    info, sent = said(codec_of(model, "wide"), 16_000)
    player, pcm, rate = heard(codec_of(model, "full"), info, [o.packet for o in sent])
    assert player.statistics().bad_payloads == 0
    assert share_above(pcm[len(pcm) // 2 :], rate, 9_000) < 1e-3


def test_a_low_rate_goes_to_the_core_alone_unless_full_band_is_asked_for(
    model: CodecModel,
) -> None:
    for band, rate, channels, described in (
        *(("auto", 3_000, 1, False), ("auto", 4_000, 1, True), ("auto", 7_000, 2, False)),
        *(("full", 3_000, 1, True), ("auto", None, 1, True)),
    ):
        codec = codec_of(model, band)  # type: ignore[arg-type]
        quality = 0.5 if rate is None else None
        encoder = codec.encoder(EncodingSettings(rate, quality, channels=channels))
        assert encoder.config.high_band is described
        info = stream_info(codec, encoder.config, rate)
        assert info.high_band == (model.high_band_hash if described else "")
        payloads = encoder.encode(np.repeat(sibilant()[:9_600], channels, 1))
        wide = codec_of(model, "wide").encoder(EncodingSettings(rate, quality, channels=channels))
        assert encoder.config.description_bytes == (2 * channels if described else 0)
        decoder = codec.decoder(info)
        heard_ = np.concatenate([decoder.decode(payload) for payload in payloads])[:, 0]
        assert (share_above(heard_[4_800:], RATE, 9_000) > 0.05) is described
        assert wide.config.base_level >= encoder.config.base_level


def test_another_high_band_is_passed_over(model: CodecModel) -> None:
    info, sent = said(codec_of(model, "full"))
    other = dataclasses.replace(info, high_band="0" * 16)
    player, pcm, rate = heard(codec_of(model, "full"), other, [o.packet for o in sent])
    assert player.statistics().bad_payloads == 0
    assert share_above(pcm[len(pcm) // 2 :], rate, 9_000) < 1e-3


@pytest.mark.parametrize(
    ("band", "rate", "widening"),
    [("auto", 48_000, 3), ("auto", None, 3), ("auto", 16_000, 1), ("wide", 48_000, 1)],
)
def test_what_a_session_works_at(
    model: CodecModel, band: Band, rate: int | None, widening: int
) -> None:
    assert codec_of(model, band, rate).widening == widening
    without = dataclasses.replace(model, high_band=None, high_band_hash="")
    assert codec_of(without, band, rate).widening == 1


def test_joint_stereo_is_announced_and_other_tables_of_it_are_refused(model: CodecModel) -> None:
    codec = codec_of(model, "full")
    encoder = codec.encoder(EncodingSettings(14_000, channels=2))
    info = stream_info(codec, encoder.config, 14_000)
    assert info.joint_stereo == model.joint_hash != ""
    assert (
        stream_info(codec, codec.encoder(EncodingSettings(9_000)).config, 9_000).joint_stereo == ""
    )
    admission = Admission(codec, ManualClock(), NO_TRACE, DEFAULT_BOUNDS)
    admission.check(info)
    decoder = codec.decoder(info)
    payloads = encoder.encode(np.repeat(sibilant()[:9_600], 2, 1))
    assert all(decoder.decode(payload).shape == (960, 2) for payload in payloads)
    with pytest.raises(StreamcodecError, match="its joint stereo was made with tables 0000"):
        admission.check(dataclasses.replace(info, joint_stereo="0" * 16))
