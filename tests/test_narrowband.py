"""Recordings that end below the codec's band."""

import numpy as np
import pytest
import soundfile
import soxr

import streamcodec
from conftest import SPEECH
from streamcodec import StreamDecoder, StreamEncoder, load_model
from streamcodec.units import Pcm

RATE, NARROW_RATE = 16_000, 8_000


def band_db(pcm: Pcm, low: float, high: float) -> float:
    power = np.square(np.abs(np.fft.rfft(pcm)))
    hz = np.fft.rfftfreq(len(pcm), 1 / RATE)
    return float(10 * np.log10(power[(hz >= low) & (hz < high)].mean() + 1e-20))


@pytest.mark.parametrize("level", [3, 6, 9])
def test_no_bits_and_no_sound_go_where_nothing_was_recorded(level: int) -> None:
    model = load_model(device="cpu")
    wide, rate = soundfile.read(SPEECH, dtype="float32")
    assert rate == RATE
    sizes, heard = {}, {}
    for source_rate in (RATE, NARROW_RATE):
        encoder = StreamEncoder(model, level=level, sample_rate=source_rate)
        payloads = streamcodec.encode(soxr.resample(wide, RATE, source_rate), encoder)
        sizes[source_rate] = sum(map(len, payloads))
        heard[source_rate] = streamcodec.decode(payloads, StreamDecoder(model, encoder.config))[
            :, 0
        ]
    assert sizes[NARROW_RATE] < 1.05 * sizes[RATE]
    narrow = heard[NARROW_RATE]
    assert band_db(narrow, 4_500, 7_500) < band_db(narrow, 200, 3_500) - 40
    # what is there is as loud as it was
    low = [band_db(pcm, 200, 3_500) for pcm in heard.values()]
    assert low[0] == pytest.approx(low[1], abs=1)
