"""Full-band streams: what is above the core's band goes through the payload, is passed over by who
works at the core's rate, and sounds the same from C and from NumPy.
"""

import dataclasses
import io
import itertools
from pathlib import Path

import numpy as np
import pytest

import streamcodec
from full_band_sounds import BITRATE_BPS, PACKET, RATE, band_db, coded, hiss, speech_48k
from streamcodec import CodecModel, StreamDecoder, StreamEncoder
from streamcodec.coding.band_levels import LevelQuantiser
from streamcodec.coding.full_band import descriptions_in
from streamcodec.coding.high_band import NumpyHighBand, lag_of
from streamcodec.coding.native_high_band import NativeHighBand
from streamcodec.coding.stream import DESCRIPTION_BPS
from streamcodec.errors import ConfigError, ModelError, PayloadError
from streamcodec.native.library import library, variants
from streamcodec.tables import HIGH_BAND_FACTOR, HIGH_BAND_REFINED, HighBandTables
from streamcodec_models import catalogue


@pytest.fixture(scope="module")
def tables() -> HighBandTables:
    found = catalogue.high_band(catalogue.folder_of(None))
    assert found is not None
    return found[0]


def test_levels_above_the_cores_band_come_through(installed: CodecModel) -> None:
    pcm = hiss(3)
    payloads, encoder = coded(installed, pcm)
    back = streamcodec.decode(payloads, StreamDecoder(installed, encoder.config), len(pcm))[:, 0]
    assert back.shape == pcm.shape
    for low in range(8_500, 19_000, 1_500):
        assert band_db(back, low, low + 1_500) == pytest.approx(
            band_db(pcm, low, low + 1_500), abs=3.5
        )
    # the swell, too: quarters of a second differ as the original's do
    for begin in range(0, len(pcm), RATE // 8):
        part = slice(begin, begin + RATE // 8)
        assert band_db(back[part]) == pytest.approx(band_db(pcm[part]), abs=4)


def test_silence_stays_silent(installed: CodecModel) -> None:
    pcm = np.concatenate([hiss(0.5), np.zeros(RATE, np.float32)])
    payloads, encoder = coded(installed, pcm)
    back = streamcodec.decode(payloads, StreamDecoder(installed, encoder.config), len(pcm))[:, 0]
    assert np.abs(back[-RATE // 2 :]).max() < 1e-3


def test_an_impulse_is_heard_within_26_ms_and_as_the_config_states(installed: CodecModel) -> None:
    payloads, encoder = coded(installed, np.zeros(RATE, np.float32))
    config = encoder.config
    assert config.latency_ms < 26.5
    decoder = StreamDecoder(installed, config)
    at = 20 * PACKET + PACKET // 3
    pcm = np.zeros(RATE, np.float32)
    pcm[at : at + 24] = 0.9  # half a millisecond, so that the core codes it
    payloads, _ = coded(installed, pcm)
    heard = np.concatenate([decoder.decode(payload) for payload in payloads])[:, 0]
    assert abs(int(np.abs(heard).argmax()) - at - config.overlap) < 48


def test_who_works_at_the_cores_rate_hears_what_a_wideband_stream_would_say(
    installed: CodecModel,
) -> None:
    pcm = hiss(1)
    payloads, encoder = coded(installed, pcm)
    config = encoder.config
    core = installed.stream_config(1, config.wire_packet_samples, config.base_level)
    narrow = StreamDecoder(installed, dataclasses.replace(core, high_band=True))
    cut = StreamDecoder(installed, core)
    for payload in payloads:
        np.testing.assert_array_equal(
            narrow.decode(payload), cut.decode(payload[: -config.description_bytes])
        )


def test_a_wideband_stream_at_the_full_rate_has_nothing_above_its_band(
    installed: CodecModel,
) -> None:
    encoder = StreamEncoder(installed, bitrate_bps=BITRATE_BPS, sample_rate=RATE)
    decoder = StreamDecoder(installed, installed.full_band(encoder.config))
    heard = np.concatenate([decoder.decode(p) for p in encoder.encode(hiss(1))])[:, 0]
    assert decoder.sample_rate == RATE
    assert band_db(heard) < band_db(heard, 1_000, 7_000) - 40


def test_the_rate_that_is_asked_for_includes_the_description(installed: CodecModel) -> None:
    payloads, encoder = coded(installed, hiss(8))
    spent = 8 * sum(map(len, payloads)) / 8
    assert spent == pytest.approx(BITRATE_BPS, rel=0.1)
    assert encoder.config.description_bytes * 8 / 0.02 == DESCRIPTION_BPS
    with pytest.raises(ConfigError, match="bit rate must be"):
        StreamEncoder(installed, bitrate_bps=DESCRIPTION_BPS, full_band=True)
    # under a cap, too, words come before what is above them
    with pytest.raises(ConfigError, match="with the high band, got 1300"):
        StreamEncoder(installed, bitrate_bps=1_300, capped=True, full_band=True)
    StreamEncoder(installed, bitrate_bps=1_300, capped=True, full_band=True, high_band=False)


@pytest.mark.parametrize("packet_ms", [20, 40, 60])
@pytest.mark.parametrize(("channels", "joint"), [(1, False), (2, False), (2, True)])
def test_channels_and_longer_packets_are_described_one_by_one(
    installed: CodecModel, packet_ms: int, channels: int, joint: bool
) -> None:
    pcm = np.stack([hiss(1.2, seed) * (1 if seed == 0 else 0.03) for seed in range(channels)], 1)
    encoder = StreamEncoder(
        installed,
        bitrate_bps=BITRATE_BPS * channels,
        sample_rate=RATE,
        channels=channels,
        packet_ms=packet_ms,
        full_band=True,
        joint_stereo=joint,
    )
    payloads = streamcodec.encode(pcm, encoder)
    steps = packet_ms // 20
    assert encoder.config.description_bytes == 2 * channels * steps
    for payload in payloads:
        parts = descriptions_in(payload, encoder.config)
        assert payload.endswith(b"".join(parts))
        assert len(parts) == channels * steps
        for part, second in zip(parts, itertools.cycle([False, joint][:channels]), strict=False):
            # of one byte where the last says that there is no other
            assert len(part) == (1 if second and part[-1] < HIGH_BAND_REFINED else 2)
    back = streamcodec.decode(payloads, StreamDecoder(installed, encoder.config), len(pcm))
    for channel in range(channels):
        assert band_db(back[:, channel]) == pytest.approx(band_db(pcm[:, channel]), abs=4)


def test_chunks_and_shared_steps_change_nothing(installed: CodecModel) -> None:
    pcm = hiss(1)
    whole, encoder = coded(installed, pcm)
    encoder.reset()
    pieces = [p for i in range(0, len(pcm), 777) for p in encoder.encode(pcm[i : i + 777])]
    assert pieces + encoder.flush() == whole
    others = [
        StreamEncoder(installed, bitrate_bps=BITRATE_BPS, sample_rate=RATE, full_band=True)
        for _ in range(2)
    ]
    together = streamcodec.encode_together(others, [pcm, hiss(1, 1)])
    assert together[0] == whole[: len(together[0])]
    config = others[0].config
    decoders = [StreamDecoder(installed, config) for _ in range(2)]
    alone = StreamDecoder(installed, config)
    for n, (first, second) in enumerate(zip(*together, strict=True)):
        lost = None if n == 10 else first
        heard, _ = streamcodec.decode_together(decoders, [lost, second])
        np.testing.assert_allclose(heard, alone.decode(lost), atol=1e-4)


def test_a_lost_packet_goes_on_and_fades(installed: CodecModel) -> None:
    payloads, encoder = coded(installed, hiss(2))
    decoder = StreamDecoder(installed, encoder.config)
    for payload in payloads[:50]:
        before = decoder.decode(payload)[:, 0]
    levels = [band_db(decoder.decode(None)[:, 0]) for _ in range(6)]
    assert levels[0] > band_db(before) - 6
    assert levels[-1] < levels[0] - 10


def test_speech_behind_a_pause_that_was_left_out_begins_at_its_level(
    installed: CodecModel,
) -> None:
    faint, loud = 0.002 * hiss(1), hiss(0.5, 1)
    payloads, encoder = coded(installed, np.concatenate([hiss(0.5), faint, loud]))
    config, heard = encoder.config, {}
    for begins in (False, True):
        decoder = StreamDecoder(installed, config)
        for payload in payloads[:35]:  # ten of the pause describe it
            decoder.decode(payload)
        decoder.reset(begins=begins)
        heard[begins] = band_db(decoder.decode(payloads[72])[:, 0])
    whole = StreamDecoder(installed, config)
    wanted = [band_db(whole.decode(payload)[:, 0]) for payload in payloads][72]
    assert abs(heard[False] - wanted) < 2
    assert heard[True] > wanted + 5  # what a decoder says that forgets the pause


def test_a_copy_can_stand_in_for_its_payload(installed: CodecModel) -> None:
    encoder = StreamEncoder(
        installed, bitrate_bps=BITRATE_BPS, sample_rate=RATE, copies=True, full_band=True
    )
    decoder = StreamDecoder(installed, encoder.config)
    heard = []
    for begin in range(0, RATE, PACKET):
        encoder.encode(hiss(1)[begin : begin + PACKET])
        heard += [decoder.decode(copy)[:, 0] for copy in encoder.copies]
    assert band_db(np.concatenate(heard)) == pytest.approx(band_db(hiss(1)), abs=4)


def test_a_payload_that_is_no_longer_than_the_description_is_refused(installed: CodecModel) -> None:
    payloads, encoder = coded(installed, hiss(0.5))
    decoder, other = (StreamDecoder(installed, encoder.config) for _ in range(2))
    decoder.decode(payloads[0])
    other.decode(payloads[0])
    with pytest.raises(PayloadError, match="2 for the high band"):
        decoder.decode(payloads[1][:2])
    np.testing.assert_array_equal(decoder.decode(payloads[1]), other.decode(payloads[1]))


def test_a_file_names_its_high_band(installed: CodecModel) -> None:
    pcm = hiss(1)
    payloads, encoder = coded(installed, pcm)
    file = io.BytesIO()
    streamcodec.write_container(file, encoder.header(len(pcm), len(payloads)), payloads)
    file.seek(0)
    recording = streamcodec.read_container(file)
    assert recording.header.sample_rate == RATE // HIGH_BAND_FACTOR
    decoder = StreamDecoder.from_header(installed, recording.header)
    back = streamcodec.decode(recording.payloads, decoder, recording.header.samples)
    assert band_db(back[:, 0]) == pytest.approx(band_db(pcm), abs=4)
    # who wants none gets none, at the same rate
    wideband = StreamDecoder.from_header(installed, recording.header, wideband=True)
    heard = streamcodec.decode(recording.payloads, wideband, recording.header.samples)[:, 0]
    assert len(heard) == len(pcm)
    assert band_db(heard) < band_db(heard, 1_000, 7_000) - 40
    # with other tables the core can be heard, and no wrong high band
    other = dataclasses.replace(installed, high_band_hash="0" * 16)
    core = StreamDecoder.from_header(other, recording.header)
    heard = streamcodec.decode(recording.payloads, core, recording.header.samples)[:, 0]
    assert len(heard) == len(pcm)
    assert band_db(heard) < band_db(heard, 1_000, 7_000) - 40


def test_a_model_without_a_high_band_says_so(installed: CodecModel) -> None:
    without = dataclasses.replace(installed, high_band=None, high_band_hash="")
    with pytest.raises(ConfigError, match="no high band"):
        StreamEncoder(without, bitrate_bps=BITRATE_BPS, full_band=True)


def test_damaged_tables_are_named(tables: HighBandTables, tmp_path: Path) -> None:
    path = tmp_path / catalogue.HIGH_BAND_FILE
    assert catalogue.high_band(tmp_path) is None
    for damaged in (b"", b"\xff" * 100, (10).to_bytes(8, "little") + b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=catalogue.HIGH_BAND_FILE):
            catalogue.high_band(tmp_path)
    for wrong in (
        {"decay": np.ones(1, np.float32)},
        {"edges": tables.edges[::-1]},
        {"mean": tables.mean[1:]},
        {"low_pass": tables.low_pass[1:]},
        {"second_share": tables.second_share[1:]},
        {"second_codebook": tables.second_codebook[1:]},
    ):
        with pytest.raises(ValueError, match="high band table"):
            dataclasses.replace(tables, **wrong)


@pytest.mark.skipif(library() is None, reason="the native library is not built")
@pytest.mark.parametrize("variant", variants())
def test_c_says_and_plays_what_numpy_does(tables: HighBandTables, variant: str) -> None:
    speech = speech_48k()
    reference = NumpyHighBand(tables, PACKET // 3, 80)
    native = NativeHighBand(tables, PACKET // 3, 80, variant)
    assert native.lag == reference.lag == lag_of(tables, 80)
    splitters = [band.splitter() for band in (reference, native)]
    joiners = [band.joiner() for band in (reference, native)]
    for n in range(len(speech) // PACKET):
        pcm = speech[n * PACKET :][:PACKET]
        core, told = splitters[0].split(pcm)
        same_core, same_told = splitters[1].split(pcm)
        np.testing.assert_allclose(same_core, core, atol=1e-6)
        assert same_told == told
        lost = n % 7 == 3
        given = None if lost or n % 11 == 5 else told
        heard, same = (joiner.join(core, given, lost) for joiner in joiners)
        np.testing.assert_allclose(same, heard, atol=1e-5)


def test_two_entries_are_nearer_than_the_first_alone(tables: HighBandTables) -> None:
    rng = np.random.default_rng(0)
    bands = len(tables.mean)
    levels = rng.normal(0, 8, (200, 2, bands)).astype(np.float32)
    offset = rng.normal(0, 3, (200, bands)).astype(np.float32)
    quantiser = LevelQuantiser(tables)
    entries = quantiser.entries(levels, offset)
    weights = quantiser.weights(levels)

    def error(chosen: np.ndarray) -> np.ndarray:
        return (weights * np.square(quantiser.levels(chosen, offset) - levels)).sum((1, 2))

    chosen = error(entries)
    for _ in range(20):
        other = entries.copy()
        other[:, 1] = rng.integers(256, size=200)
        assert (chosen <= error(other) + 1e-2).all()
