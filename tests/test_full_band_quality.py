"""`bench quality` at 48 kHz and in stereo: its metrics, what it reads, codes and refuses."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from conftest import voice
from streamcodec.errors import AudioError, ConfigError
from streamcodec.units import Pcm
from streamcodec_bench.cli import bench
from streamcodec_bench.codecs import all_codecs
from streamcodec_bench.coded import Coded, PeerCodec
from streamcodec_bench.content import Clip, derived, read_clips
from streamcodec_bench.formats import FULL_BAND_RATE, SAMPLE_RATE, Format
from streamcodec_bench.metrics import figures, metrics_for
from streamcodec_bench.placing import PLACES
from streamcodec_bench.quality import Row, aligned, anchor_of, measure
from streamcodec_bench.quality_report import side_by_side
from streamcodec_bench.signal_metrics import high_band_distance
from streamcodec_bench.stereo_metrics import coherence_error, level_error

FULL_BAND, STEREO = Format(FULL_BAND_RATE), Format(FULL_BAND_RATE, stereo=True)


def noise(seed: int, seconds: float = 1.5) -> Pcm:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * FULL_BAND_RATE))).astype(np.float32)


def band(pcm: Pcm, low_hz: float, high_hz: float, gain: float) -> Pcm:
    """pcm [T] with what lies between two frequencies amplified."""
    spectrum = np.fft.rfft(pcm)
    frequencies = np.fft.rfftfreq(len(pcm), 1 / FULL_BAND_RATE)
    spectrum[(frequencies >= low_hz) & (frequencies < high_hz)] *= gain
    return np.fft.irfft(spectrum, len(pcm)).astype(np.float32)


def both(left: Pcm, right: Pcm) -> Pcm:
    return np.stack([left, right], axis=1)


def test_the_high_band_is_judged_by_itself_and_down_to_80_db() -> None:
    pcm = noise(0)
    assert high_band_distance(pcm, pcm) == 0
    assert high_band_distance(pcm, band(pcm, 7_000, 17_000, 0.5)) == pytest.approx(6.02, abs=0.01)
    assert high_band_distance(pcm, band(pcm, 0, 7_500, 0.5)) < 0.01
    # noise lies 10 to 20 dB below its loudest bin, so without the band it is that much nearer
    assert 60 < high_band_distance(pcm, band(pcm, 7_000, 17_000, 0)) < 80
    narrow = band(pcm, 7_000, FULL_BAND_RATE, 0)
    assert np.isnan(high_band_distance(narrow, pcm))


def test_a_level_difference_that_is_lost_is_found_in_db() -> None:
    pcm = noise(0)
    left = both(pcm, 0.5 * pcm)
    assert level_error(left, left) == 0
    assert level_error(left, both(pcm, pcm)) == pytest.approx(6.02, abs=0.01)
    assert coherence_error(left, both(pcm, pcm)) < 1e-3
    # what one channel lacks altogether counts as 40 dB
    hard = both(pcm, np.zeros_like(pcm))
    assert level_error(hard, both(pcm, pcm)) == pytest.approx(40, abs=0.01)


def test_an_image_that_gets_narrow_or_turns_round_is_found() -> None:
    left, right = noise(0), noise(1)
    wide = both(left, right)
    assert coherence_error(wide, wide) == 0
    assert coherence_error(wide, both(left, left)) == pytest.approx(1, abs=0.15)
    assert coherence_error(both(left, left), both(left, -left)) == pytest.approx(2, abs=1e-3)
    assert level_error(both(left, left), both(left, -left)) < 1e-3
    quarter = round(FULL_BAND_RATE / 1_000 / 4)  # a quarter of a period at 1 kHz
    tone = np.sin(2 * np.pi * 1_000 * np.arange(FULL_BAND_RATE) / FULL_BAND_RATE)
    tone = tone.astype(np.float32)
    turned = coherence_error(both(tone, tone)[quarter:], both(tone[quarter:], tone[:-quarter]))
    assert turned == pytest.approx(2**0.5, abs=0.05)


def test_the_image_of_what_is_not_heard_does_not_count() -> None:
    pcm = noise(0)
    quiet = band(pcm, 12_000, FULL_BAND_RATE, 0.003)  # 50 dB
    assert level_error(both(quiet, quiet), both(quiet, band(quiet, 13_000, 24_001, 0))) < 0.01
    assert level_error(both(pcm, pcm), both(pcm, band(pcm, 13_000, 24_001, 0))) > 5
    silence = np.zeros((FULL_BAND_RATE, 2), np.float32)
    assert np.isnan(level_error(silence, silence))
    assert np.isnan(coherence_error(silence, silence))


def test_a_metric_gets_its_own_rate_and_two_channels_their_mean() -> None:
    pcm = noise(0)
    above = both(pcm, band(pcm, 9_000, FULL_BAND_RATE, 0.5))
    judged = figures(["lsd", "lsd-high", "stereo-level"], both(pcm, pcm), above, FULL_BAND_RATE)
    assert judged["lsd"] < 0.05  # it hears 8 kHz, where nothing has changed
    alone = [high_band_distance(pcm, channel) for channel in above.T]
    assert alone[0] == 0 < alone[1]
    assert judged["lsd-high"] == pytest.approx(np.mean(alone))
    assert judged["stereo-level"] > 1
    mono = figures(["lsd", "stereo-level"], pcm, pcm, FULL_BAND_RATE)
    assert mono["lsd"] == 0
    assert np.isnan(mono["stereo-level"])
    one_narrow = both(pcm, band(pcm, 7_000, FULL_BAND_RATE, 0))
    assert figures(["lsd-high"], one_narrow, one_narrow, FULL_BAND_RATE) == {"lsd-high": 0}


def test_visqol_audio_hears_what_is_above_8_khz() -> None:
    pytest.importorskip("visqol", reason="ViSQOL is not installed: extra quality")
    pcm = voice(3, FULL_BAND_RATE)
    narrow = all_codecs(None, FULL_BAND)["low-pass 8 kHz"].code(pcm, 0).pcm
    whole, cut = (
        figures(["visqol-audio"], pcm, heard, FULL_BAND_RATE)["visqol-audio"]
        for heard in (pcm, narrow)
    )
    assert whole > 4.7
    assert cut < whole - 1


def test_metrics_and_codecs_are_those_of_the_format() -> None:
    new = {"lsd-high", "stereo-level", "stereo-coherence"}
    assert new & set(metrics_for(Format())) == set()
    assert new & set(metrics_for(FULL_BAND)) == {"lsd-high"}
    assert new <= set(metrics_for(STEREO))
    assert "lc3" in all_codecs(None)
    assert "lc3" not in all_codecs(None, FULL_BAND)
    assert "mean of channels" in all_codecs(None, STEREO)
    assert anchor_of(["streamcodec", "opus-audio"]) == "opus-audio"
    assert anchor_of(["streamcodec"]) == "opus"


@pytest.mark.parametrize("name", ["streamcodec", "streamcodec-core", "opus", "opus-audio"])
def test_codecs_give_back_both_channels_at_48_khz(name: str) -> None:
    if name.startswith("opus"):
        pytest.importorskip("av", reason="PyAV is not installed: extra quality")
    pcm = both(voice(2, FULL_BAND_RATE), 0.25 * voice(2, FULL_BAND_RATE, seed=1)[::-1])
    coded = all_codecs(None, STEREO)[name].code(pcm, 32_000)
    assert 10_000 < coded.payload_bytes * 8 / 2 < 40_000
    reference, output = aligned(pcm, coded.pcm, FULL_BAND_RATE)
    assert reference.shape == output.shape
    assert len(output) > 0.95 * len(pcm)
    alike = [[np.corrcoef(reference[:, a], output[:, b])[0, 1] for b in range(2)] for a in range(2)]
    assert min(alike[0][0], alike[1][1]) > 0.6
    assert max(alike[0][1], alike[1][0]) < 0.4


def test_only_full_band_has_something_above_the_core() -> None:
    pcm = voice(2, FULL_BAND_RATE)
    codecs = all_codecs(None, FULL_BAND)
    distances = [
        high_band_distance(pcm, codecs[name].code(pcm, 12_000).pcm[: len(pcm)])
        for name in ("reference", "streamcodec", "streamcodec-core", "low-pass 8 kHz")
    ]
    assert distances[0] == 0
    assert distances[1] < 0.5 * distances[2]
    assert distances[2] == pytest.approx(distances[3], rel=0.1)


def test_delay_is_taken_out_of_both_channels_alike() -> None:
    pcm = both(noise(0), noise(1))
    late = np.concatenate([np.zeros((4_321, 2), np.float32), pcm])  # 90 ms
    reference, output = aligned(pcm, late, FULL_BAND_RATE)
    assert np.array_equal(reference, output)


def test_a_recording_without_the_band_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "cd.wav", both(noise(0), noise(1)), 44_100)
    (clip,) = read_clips(tmp_path, None, form=STEREO)
    assert clip.pcm.shape == (round(clip.seconds * FULL_BAND_RATE), 2)
    assert clip.channels == 2
    assert read_clips(tmp_path, None, form=FULL_BAND)[0].channels == 1
    assert read_clips(tmp_path, None)[0].sample_rate == SAMPLE_RATE
    soundfile.write(tmp_path / "narrow.wav", voice(2), 16_000)
    with pytest.raises(AudioError, match=r"narrow.wav is at 16000 Hz: .* at 48000 Hz .* 40000"):
        read_clips(tmp_path, None, form=STEREO)


def test_classes_of_content_are_made_from_mono_at_16_khz() -> None:
    clip = Clip("a", "clean", noise(0), sample_rate=FULL_BAND_RATE)
    assert derived([clip], ["clean"], []) == [clip]
    with pytest.raises(ConfigError, match="from mono at 16000 Hz: .* not clean, loud"):
        derived([clip], ["clean", "loud"], [])


def halved(pcm: Pcm, bitrate_bps: float) -> Coded:
    return Coded(0.5 * pcm, round(bitrate_bps * len(pcm) / FULL_BAND_RATE / 8), 0.1, 0.1)


def measured(pcm: NDArray[np.float32], content: str) -> list[Row]:
    clip = Clip("a", content, pcm, sample_rate=FULL_BAND_RATE)
    codec = PeerCodec("halved", halved, least_bps=6_000, most_bps=30_000)
    rows, _ = measure(
        [clip], [12e3, 48e3], codecs=[codec], metrics=["lsd-high"], jobs=1, on_row=lambda row: None
    )
    return rows


def test_rates_are_those_that_a_codec_has_for_the_channels_side_by_side() -> None:
    speech = measured(noise(0), "speech")
    music = measured(both(noise(0), noise(1)), "music")
    assert [row.bitrate_kbps for row in speech] == pytest.approx([12])
    assert [row.bitrate_kbps for row in music] == pytest.approx([12, 48])
    table = side_by_side(speech + music, ["lsd-high"]).splitlines()
    assert table[0] == (
        "| codec | kbit/s asked | kbit/s, speech | LSD 8-16 kHz dB, speech "
        "| kbit/s, music | LSD 8-16 kHz dB, music |"
    )
    assert table[2:] == [
        "| halved | 12 | 12.00 | 6.02 | 12.00 | 6.02 |",
        "| halved | 48 | - | - | 48.00 | 6.02 |",
    ]


def judged(data: Path, *more: str) -> Result:
    asked = ["quality", "--data", str(data), "--codecs", "reference", "--jobs", "1", *more]
    return CliRunner().invoke(bench, asked)


def test_the_command_compares_mono_and_stereo_at_48_khz(tmp_path: Path) -> None:
    for folder, pcm in (("speech", noise(0)), ("sets/music", both(noise(0), noise(1)))):
        (tmp_path / folder).mkdir(parents=True)
        soundfile.write(tmp_path / folder / "a.wav", pcm, FULL_BAND_RATE)
    form = ["--sample-rate", "48000", "--stereo", "--metrics", "lsd-high,stereo-level"]
    names = ["--codecs", "reference,low-pass 8 kHz,mean of channels", "--out", str(tmp_path / "o")]
    done = judged(tmp_path / "speech", *form, *names, "--also", str(tmp_path / "sets"))
    assert done.exit_code == 0, done.output
    assert "compared at: 48 kHz, stereo" in done.output
    assert "| reference | - | - | 0.000 | - | - | 0.000 | 0.000 |" in done.output
    rows = json.loads((tmp_path / "o" / "quality.json").read_text())["rows"]
    means = {(row["codec"], row["content"]): row["means"] for row in rows}
    assert means["low-pass 8 kHz", "music"]["lsd-high"] > 50
    assert means["mean of channels", "music"]["stereo-level"] > 1
    assert means["mean of channels", "clean"] == {"lsd-high": 0, "stereo-level": None}


def test_what_a_format_does_not_have_is_refused_by_name(tmp_path: Path) -> None:
    done = judged(tmp_path, "--metrics", "lsd-high")
    assert done.exit_code == 2
    assert "no metric for 16 kHz, mono 'lsd-high': pesq" in done.output
    done = judged(tmp_path, "--sample-rate", "48000", "--codecs", "lc3")
    assert done.exit_code == 2
    assert "no codec for 48 kHz, mono 'lc3': streamcodec" in done.output


def test_voices_are_placed_in_two_channels_the_same_each_time() -> None:
    clips = [Clip(f"{n}", "clean", voice(1.5, 48_000, n), "", 48_000) for n in range(2)]
    made = {clip.content: clip.pcm for clip in derived(clips, [*PLACES], [])}
    assert set(made) == set(PLACES)
    again = {clip.content: clip.pcm for clip in derived(clips, [*PLACES], [])}
    for kind, pcm in made.items():
        assert pcm.shape == (72_000, 2)
        assert np.abs(pcm).max() <= 1
        np.testing.assert_array_equal(pcm, again[kind])
    alike = {kind: np.corrcoef(pcm.T)[0, 1] for kind, pcm in made.items()}
    assert alike["in the middle"] == pytest.approx(1)
    assert alike["at a side"] == pytest.approx(1)
    assert 0.3 < alike["in a room"] < 0.99
    assert 0.3 < alike["beside another"] < 0.99
    with pytest.raises(ConfigError, match="voices are placed in two channels from recordings of o"):
        derived([dataclasses.replace(clips[0], pcm=made["at a side"])], ["at a side"], [])
