"""The high band of the second channel in joint stereo, which is told by that of the first."""

from __future__ import annotations

import numpy as np
import pytest

import streamcodec
from full_band_sounds import PACKET, RATE, band_db, coded, hiss, speech_48k
from streamcodec import CodecModel, StreamDecoder, StreamEncoder
from streamcodec.coding.full_band import descriptions_in
from streamcodec.coding.high_band import NumpyHighBand
from streamcodec.coding.native_high_band import NativeHighBand
from streamcodec.errors import PayloadError
from streamcodec.native.library import library, variants
from streamcodec.tables import HighBandTables
from streamcodec_models import catalogue


@pytest.fixture(scope="module")
def tables() -> HighBandTables:
    found = catalogue.high_band(catalogue.folder_of(None))
    assert found is not None
    return found[0]


@pytest.mark.parametrize("packet_ms", [20, 40, 60])
def test_a_stereo_payload_of_any_bytes_is_taken_apart_or_refused(
    installed: CodecModel, packet_ms: int
) -> None:
    encoder = StreamEncoder(
        installed, level=3, channels=2, packet_ms=packet_ms, full_band=True, sample_rate=RATE
    )
    rng = np.random.default_rng(0)
    for size in range(16):
        for _ in range(20):
            payload = rng.bytes(size)
            try:
                parts = descriptions_in(payload, encoder.config)
            except PayloadError as error:
                assert "for the high band it must be longer" in str(error)
                assert size <= encoder.config.description_bytes
                continue
            assert payload.endswith(b"".join(parts))
            assert len(b"".join(parts)) < size
            assert len(parts) == 2 * packet_ms // 20


@pytest.mark.skipif(library() is None, reason="the native library is not built")
@pytest.mark.parametrize("variant", variants())
def test_c_says_and_plays_second_channels_as_numpy_does(
    tables: HighBandTables, variant: str
) -> None:
    speech = speech_48k()
    bands = NumpyHighBand(tables, PACKET // 3, 80), NativeHighBand(tables, PACKET // 3, 80, variant)
    firsts = [band.splitter() for band in bands]
    splitters = [band.splitter() for band in bands]
    joiners = [band.joiner() for band in bands]
    lowered = [band.splitter() for band in bands]
    other = 0.5 * speech + 0.3 * hiss(len(speech) / RATE)[: len(speech)]
    sizes = set()
    for n in range(len(speech) // PACKET):
        part = slice(n * PACKET, (n + 1) * PACKET)
        first = firsts[0].split(speech[part])[1]
        core, told = splitters[0].split(other[part], first)
        same_core, same_told = splitters[1].split(other[part], first)
        assert same_told == told
        sizes.add(len(told))
        np.testing.assert_allclose(same_core, core, atol=1e-6)
        for splitter in lowered:
            np.testing.assert_allclose(splitter.lower(other[part]), core, atol=1e-6)
        lost = n % 7 == 3
        given = (None, None) if lost else (told, first)
        heard, same = (joiner.join(core, given[0], lost, given[1]) for joiner in joiners)
        np.testing.assert_allclose(same, heard, atol=1e-5)
    assert sizes == {1, 2}  # with a refinement, and without


def test_what_begins_in_the_second_channel_alone_begins_as_elsewhere(installed: CodecModel) -> None:
    onset, sibilant = RATE, np.diff(hiss(0.4), 2)
    faint = 10 ** (-75 / 20) * np.random.default_rng(0).standard_normal((2, 2 * RATE))
    pcm = faint.T.astype(np.float32)
    pcm[onset : onset + len(sibilant), 1] += 0.5 * sibilant
    begun = slice(onset, onset + RATE // 50)
    levels = {}
    for joint in (False, True):
        payloads, encoder = coded(installed, pcm, channels=2, joint_stereo=joint)
        back = streamcodec.decode(payloads, StreamDecoder(installed, encoder.config), len(pcm))
        levels[joint] = band_db(back[begun, 1])
    assert levels[True] > levels[False] - 8


def test_the_second_channel_is_as_loud_as_it_is_whatever_the_first_is(
    installed: CodecModel,
) -> None:
    quiet, loud = 0.02 * hiss(2), hiss(2, 1)
    for pcm in (np.stack([loud, loud], 1), np.stack([loud, quiet], 1), np.stack([quiet, loud], 1)):
        payloads, encoder = coded(installed, pcm, channels=2)
        back = streamcodec.decode(payloads, StreamDecoder(installed, encoder.config), len(pcm))
        for channel in range(2):
            for begin in range(RATE // 2, len(pcm), RATE // 4):
                part = slice(begin, begin + RATE // 4)
                heard = band_db(back[part, channel])
                assert heard == pytest.approx(band_db(pcm[part, channel]), abs=4)
