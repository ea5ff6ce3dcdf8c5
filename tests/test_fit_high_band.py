"""`streamcodec train high-band`: tables that fit what was recorded, for any model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import streamcodec
from streamcodec import StreamDecoder, StreamEncoder, load_model
from streamcodec.errors import AudioError
from streamcodec.units import Pcm
from streamcodec_models import catalogue
from streamcodec_training import high_band, steady_noise
from streamcodec_training.cli import train

RATE = 48_000


def recording(seed: int, seconds: float = 4.5) -> Pcm:
    """Hiss that is louder or fainter every 50 ms, and falls by 6 dB an octave."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(round(seconds * RATE))
    spectrum = np.fft.rfft(noise)
    spectrum /= 1 + np.fft.rfftfreq(len(noise), 1 / RATE) / 1_000
    levels = np.repeat(10 ** rng.uniform(-2, 0, len(noise) // 2_400 + 1), 2_400)[: len(noise)]
    return (0.5 * levels * np.fft.irfft(spectrum, len(noise))).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model without a high band, and what it is to be fitted to."""
    monkeypatch.setattr(steady_noise, "STEPS", 3)
    monkeypatch.setattr(high_band, "OPEN_ROUNDS", 4)
    monkeypatch.setattr(high_band, "CLOSED_ROUNDS", 2)
    monkeypatch.setattr(high_band, "STEREO_PIECES", 8)
    monkeypatch.setattr(high_band, "STEREO_ROUNDS", 2)
    steady_noise.steady_noise.cache_clear()
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "data").mkdir()
    for seed in range(4):
        soundfile.write(tmp_path / "data" / f"{seed}.wav", recording(seed), RATE)
    yield tmp_path
    steady_noise.steady_noise.cache_clear()


def test_a_fitted_model_is_full_band(folder: Path) -> None:
    assert load_model(folder / "model", "cpu", "torch").high_band is None
    # what cannot tell of 20 kHz, and what is no audio, is left out
    soundfile.write(folder / "data" / "narrow.wav", recording(9)[::3], RATE // 3)
    (folder / "data" / "text.wav").write_text("no audio")
    command = ["high-band", str(folder / "model"), "--data", str(folder / "data")]
    done = CliRunner().invoke(train, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert catalogue.HIGH_BAND_FILE in done.output
    model = load_model(folder / "model", "cpu", "torch")
    assert model.high_band is not None
    pcm = recording(5)  # which it was not fitted to
    encoder = StreamEncoder(model, level=6, full_band=True)
    decoder = StreamDecoder(model, encoder.config)
    back = streamcodec.decode(streamcodec.encode(pcm, encoder), decoder, len(pcm))[:, 0]
    step = 2_400
    levels, errors = [], []
    for begin in range(RATE // 2, len(pcm) - step, step):
        said, heard = (power_above(x[begin : begin + step], 9_000) for x in (pcm, back))
        levels.append(10 * np.log10(said))
        errors.append(10 * np.log10(heard) - levels[-1])
    assert abs(np.mean(errors)) < 3
    assert np.std(errors) < 0.7 * np.std(levels)  # few recordings, many entries
    # of a channel that is as the first, little is left to say
    band = model.high_band
    splitters = band.splitter(), band.splitter()
    told = []
    for begin in range(0, len(pcm) - band.packet, band.packet):
        packet = pcm[begin : begin + band.packet]
        told.append(splitters[1].split(packet, splitters[0].split(packet)[1])[1])
    assert np.mean([len(second) for second in told]) < 1.3


def power_above(pcm: Pcm, hz: float) -> float:
    power = np.square(np.abs(np.fft.rfft(pcm)))
    return float(power[np.fft.rfftfreq(len(pcm), 1 / RATE) >= hz].sum())


def test_nothing_to_fit_to_is_said(folder: Path) -> None:
    shutil.rmtree(folder / "data")
    (folder / "data").mkdir()
    soundfile.write(folder / "data" / "short.wav", recording(0, 1.0), RATE)
    with pytest.raises(AudioError, match="no recordings of 40000 Hz or more, 200 packets"):
        high_band.fit_high_band([folder / "data"], folder / "model")
    assert not (folder / "model" / catalogue.HIGH_BAND_FILE).exists()


def test_the_same_seed_fits_the_same_tables(folder: Path) -> None:
    path = high_band.fit_high_band([folder / "data"], folder / "model", seed=1)
    first = path.read_bytes()
    assert (
        high_band.fit_high_band([folder / "data"], folder / "model", seed=1).read_bytes() == first
    )
