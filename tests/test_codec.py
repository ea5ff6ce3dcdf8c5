import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

import streamcodec
from conftest import voice
from streamcodec import CodecModel, StreamDecoder, StreamEncoder
from streamcodec.engines.api import Latents
from streamcodec.errors import AudioError, ConfigError, PayloadError

SECOND = voice(1.0)


def test_config_states_25_ms(model: CodecModel) -> None:
    assert model.config.latency_ms == 25.0
    assert model.config.packet_ms == 20.0


def test_an_impulse_is_heard_no_later_than_the_config_states(model: CodecModel) -> None:
    """Through the real stream: sample n goes in, and what comes out by n + latency_samples must
    hold it.
    """
    latency = model.config.latency_samples
    packet = model.config.packet_samples
    for offset in (0, 1, packet // 2, packet - 1):
        pcm = np.zeros(20 * packet, np.float32)
        position = 10 * packet + offset
        pcm[position] = 0.9
        encoder = StreamEncoder(model, quality=1.0)
        decoder = StreamDecoder(model, encoder.config)
        heard = []  # what has been played when k samples were captured
        for start in range(0, len(pcm), 40):
            heard += [decoder.decode(p)[:, 0] for p in encoder.encode(pcm[start : start + 40])]
            captured = start + 40
            if captured >= position + latency:
                break
        played = np.concatenate(heard)
        around = np.abs(played[max(0, position - packet) :])
        assert np.argmax(around) + max(0, position - packet) == position + model.config.overlap
        assert around.max() > 10 * np.median(around)


def test_speech_comes_out_later_by_the_overlap_and_nothing_else(model: CodecModel) -> None:
    encoder = StreamEncoder(model, quality=1.0)
    decoder = StreamDecoder(model, encoder.config)
    played = np.concatenate([decoder.decode(p)[:, 0] for p in encoder.encode(SECOND)])
    lag = int(np.argmax(correlate(played, SECOND[: len(played)], "full"))) - (len(played) - 1)
    assert lag == model.config.overlap
    assert lag + model.config.packet_samples == model.config.latency_samples


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(SECOND)), max_size=12), st.sampled_from([20, 40, 60]))
def test_chunking_never_changes_a_byte(model: CodecModel, cuts: list[int], packet_ms: int) -> None:
    whole = streamcodec.encode(SECOND, StreamEncoder(model, bitrate_bps=6000, packet_ms=packet_ms))
    encoder = StreamEncoder(model, bitrate_bps=6000, packet_ms=packet_ms)
    edges = [0, *sorted(cuts), len(SECOND)]
    payloads = [
        p for a, b in pairwise(edges) for p in encoder.encode(SECOND[a:b])
    ] + encoder.flush()
    assert payloads == whole


@pytest.mark.parametrize("level", [5, 16])  # without the waveform layer and with it
def test_streaming_equals_the_offline_pass(model: CodecModel, level: int) -> None:
    """Packet by packet through the engine against one step over all packets."""
    encoder = StreamEncoder(model, level=level)
    payloads = encoder.encode(SECOND)
    decoder = StreamDecoder(model, encoder.config)
    streamed = np.concatenate([decoder.decode(p)[:, 0] for p in payloads])
    parsed = [model.bitstream.parse(p, 1, 1, encoder.config.base_level) for p in payloads]
    layers = [p.waveform for p in parsed if p.waveform is not None]
    assert len(layers) == (len(parsed) if level > 11 else 0)
    assert all(p.level == level for p in parsed)
    layer = None
    if layers:
        parts = ("coded", "loudness", "q", "steps")
        whole = {name: np.concatenate([getattr(one, name) for one in layers]) for name in parts}
        layer = dataclasses.replace(layers[0], **whole)
        assert layer.q.any()
    latents = Latents(
        level,
        np.concatenate([p.gain_index for p in parsed]),
        np.concatenate([p.y for p in parsed]),
        layer,
    )
    offline, _ = model.engine.decode(latents, model.engine.initial_decoder_state(1))
    assert np.abs(streamed - offline[0].clip(-1, 1)).max() < 1e-4


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_sources_of_every_kind_come_back_aligned(
    model: CodecModel, sample_rate: int, channels: int, kind: type
) -> None:
    mono = voice(0.6, sample_rate)
    pcm = np.stack([mono, -0.5 * mono], 1)[:, :channels]
    source = (pcm * 32767).astype(np.int16) if kind is np.int16 else pcm
    encoder = StreamEncoder(model, quality=1.0, sample_rate=sample_rate, channels=channels)
    payloads = streamcodec.encode(source, encoder)
    back = streamcodec.decode(
        payloads, StreamDecoder(model, encoder.config, sample_rate=sample_rate), len(source)
    )
    assert back.shape == pcm.shape
    for channel in range(channels):
        a, b = pcm[:, channel], back[:, channel]
        lag = int(np.argmax(correlate(b, a, "full"))) - (len(a) - 1)
        assert abs(lag) <= 1
        assert np.corrcoef(a, b)[0, 1] > 0.7


@pytest.mark.parametrize("samples", [0, 1, 2, 319, 320, 321, 5_000])
def test_every_length_keeps_its_length(model: CodecModel, samples: int) -> None:
    encoder = StreamEncoder(model, quality=0.5)
    payloads = streamcodec.encode(SECOND[:samples], encoder)
    assert (
        len(streamcodec.decode(payloads, StreamDecoder(model, encoder.config), samples)) == samples
    )
    assert bool(payloads) == bool(samples)


def test_pcm_may_be_a_list(model: CodecModel) -> None:
    pcm = voice(0.1)
    ours, theirs = (StreamEncoder(model, quality=0.5) for _ in range(2))
    given = pcm.tolist()
    assert ours.encode(given) + ours.flush() == theirs.encode(pcm) + theirs.flush()
    with pytest.raises(AudioError, match=r"PCM must be \[samples, 1\]: .* inhomogeneous"):
        ours.encode([[0.1], [0.1, 0.2]])


def test_stereo_can_be_averaged(model: CodecModel) -> None:
    stereo = np.stack([SECOND, np.zeros_like(SECOND)], 1)
    both = streamcodec.encode(stereo, StreamEncoder(model, quality=0.5, channels=2, downmix=True))
    assert both == streamcodec.encode(SECOND * np.float32(0.5), StreamEncoder(model, quality=0.5))


def test_streams_share_weights_and_nothing_else(model: CodecModel) -> None:
    alone = streamcodec.encode(SECOND, StreamEncoder(model, quality=0.5))
    first, second = StreamEncoder(model, quality=0.5), StreamEncoder(model, quality=0.5)
    mixed = []
    for start in range(0, len(SECOND), 800):
        mixed += first.encode(SECOND[start : start + 800])
        second.encode(SECOND[::-1][start : start + 800].copy())
    assert mixed + first.flush() == alone


def test_reset_begins_anew(model: CodecModel) -> None:
    encoder = StreamEncoder(model, bitrate_bps=5000)
    decoder = StreamDecoder(model, encoder.config)
    first = encoder.encode(SECOND)
    played = np.concatenate([decoder.decode(p) for p in first])
    encoder.reset()
    decoder.reset()
    assert encoder.encode(SECOND) == first
    assert np.array_equal(np.concatenate([decoder.decode(p) for p in first]), played)


def test_a_missing_packet_is_concealed_and_heals(model: CodecModel) -> None:
    encoder = StreamEncoder(model, quality=0.8)
    payloads = encoder.encode(voice(2.0))
    whole, holed = (StreamDecoder(model, encoder.config) for _ in range(2))
    clean = [whole.decode(p) for p in payloads]
    played = [holed.decode(None if 40 <= i < 43 else p) for i, p in enumerate(payloads)]
    assert all(np.isfinite(p).all() and len(p) == model.config.packet_samples for p in played)
    assert not np.allclose(played[41], clean[41])
    # The network's memory is finite: once it has seen only good packets, the two decoders agree.
    assert np.abs(np.concatenate(played[70:]) - np.concatenate(clean[70:])).max() < 1e-4


def test_concealment_fades(model: CodecModel) -> None:
    encoder = StreamEncoder(model, quality=0.8)
    decoder = StreamDecoder(model, encoder.config)
    for payload in encoder.encode(SECOND[:8000]):
        last = decoder.decode(payload)
    missing = [decoder.decode(None) for _ in range(20)]
    assert np.square(missing[-1]).mean() < 1e-4 * max(np.square(last).mean(), 1e-3)


def test_a_bad_payload_leaves_the_stream_as_it_was(model: CodecModel) -> None:
    encoder = StreamEncoder(model, quality=0.8)
    payloads = encoder.encode(SECOND)
    clean, hurt = (StreamDecoder(model, encoder.config) for _ in range(2))
    for i, payload in enumerate(payloads):
        if i == 20:
            for garbage in (b"", b"\xff" * 2000, payload + b"\1\2\3\4\5\6"):
                with pytest.raises(PayloadError):
                    hurt.decode(garbage)
        assert np.array_equal(clean.decode(payload), hurt.decode(payload))


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=80))
def test_any_bytes_give_pcm_or_one_error(model: CodecModel, payload: bytes) -> None:
    try:
        pcm = StreamDecoder(model, model.config).decode(payload)
    except PayloadError:
        return
    assert pcm.shape == (model.config.packet_samples, 1)
    assert np.abs(pcm).max() <= 1.0


def test_bad_pcm_is_named_and_loses_nothing(model: CodecModel) -> None:
    encoder = StreamEncoder(model, quality=0.5)
    payloads = encoder.encode(SECOND[:1000])
    bad = SECOND[:400].copy()
    bad[17] = np.nan
    with pytest.raises(AudioError, match="nan at sample 1017:"):
        encoder.encode(bad)
    with pytest.raises(AudioError, match=r"shape \[10, 3\]"):
        encoder.encode(np.zeros((10, 3), np.float32))
    with pytest.raises(AudioError, match="int16, float32 or float64, got int64"):
        encoder.encode(np.zeros(10, np.int64))
    payloads += encoder.encode(SECOND[1000:]) + encoder.flush()
    assert payloads == streamcodec.encode(SECOND, StreamEncoder(model, quality=0.5))


def test_floats_beyond_full_scale_are_clipped(model: CodecModel) -> None:
    loud = SECOND * np.float32(20)
    assert streamcodec.encode(loud, StreamEncoder(model, quality=0.5)) == streamcodec.encode(
        np.clip(loud, -1, 1), StreamEncoder(model, quality=0.5)
    )


@pytest.mark.parametrize(
    ("settings_", "complaint"),
    [
        ({}, "either a bit rate or a quality"),
        ({"bitrate_bps": 6000, "quality": 0.5}, "either a bit rate or a quality"),
        ({"bitrate_bps": 10}, "bit/s for 1 channel of this model, got 10"),
        ({"bitrate_bps": 1e6}, "for 1 channel of this model, got 1e"),
        ({"bitrate_bps": 10, "capped": True}, "1000 to 32000 bit/s for 1 channel, got 10"),
        (
            {"bitrate_bps": 1500, "channels": 2, "capped": True},
            "2000 to 64000 bit/s for 2 channels",
        ),
        ({"quality": 1.5}, "0 to 1, got 1.5"),
        ({"quality": 0.5, "capped": True}, "needs a bit rate"),
        ({"quality": 0.5, "channels": 3}, "channels must be 1 to 2"),
        ({"quality": 0.5, "sample_rate": 1}, "sample rate must be"),
        ({"quality": 0.5, "packet_ms": 30}, "packet_ms must be one of 20, 40, 60, got 30"),
        ({"quality": 0.5, "packet_ms": "20"}, "packet_ms must be a number, got '20'"),
        ({"bitrate_bps": "6k"}, "bit rate must be a number, got '6k'"),
        ({"bitrate_bps": "6k", "capped": True}, "bit rate must be a number, got '6k'"),
        ({"quality": "0.5"}, "quality must be a number, got '0.5'"),
        ({"level": 3.0}, "level must be a whole number, got 3.0"),
        ({"quality": 0.5, "channels": 2.0}, "channels must be a whole number, got 2.0"),
    ],
)
def test_settings_out_of_range_are_named(
    model: CodecModel, settings_: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        StreamEncoder(model, **settings_)  # type: ignore[arg-type]


def test_a_base_level_that_the_model_has_not_is_refused(model: CodecModel) -> None:
    assert StreamEncoder(model, quality=0.5).config.base_level == 12
    with pytest.raises(ConfigError, match="base level must be 0 to 23, got 24"):
        model.stream_config(base_level=24)


def test_packets_that_the_model_has_not_are_refused(model: CodecModel) -> None:
    with pytest.raises(ConfigError, match="packet_samples must be one of 320, 640, 960, got 480"):
        model.stream_config(packet_samples=480)


def test_cuda_decodes_what_the_cpu_encoded_and_back(model_folder: str, model: CodecModel) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here: PyTorch finds no CUDA device")
    on_gpu = streamcodec.load_model(model_folder, "cuda")
    config = StreamEncoder(model, quality=0.7).config
    payloads = {
        m.device.type: streamcodec.encode(SECOND, StreamEncoder(m, quality=0.7))
        for m in (model, on_gpu)
    }
    for made in payloads.values():
        played = [streamcodec.decode(made, StreamDecoder(m, config)) for m in (model, on_gpu)]
        assert np.abs(played[0] - played[1]).max() < 1e-3


def test_payloads_come_in_any_buffer_and_a_rate_of_zero_is_none(model: CodecModel) -> None:
    encoder = StreamEncoder(model, quality=0.5)
    payload = encoder.encode(SECOND)[0]
    wanted = StreamDecoder(model, encoder.config).decode(payload)
    for kind in (bytearray, memoryview, lambda raw: np.frombuffer(raw, np.uint8)):
        heard = StreamDecoder(model, encoder.config).decode(kind(payload))  # type: ignore[arg-type]
        np.testing.assert_array_equal(heard, wanted)
    with pytest.raises(ConfigError, match="sample rate must be"):
        StreamEncoder(model, quality=0.5, sample_rate=0)
    with pytest.raises(ConfigError, match="sample rate must be"):
        StreamDecoder(model, encoder.config, sample_rate=0)
