"""The page of sound samples in docs, its listening test, and the command that writes both."""

import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from conftest import voice
from streamcodec.errors import AudioError, ConfigError
from streamcodec_bench import metrics
from streamcodec_bench.content import Clip
from streamcodec_bench.listening_page import MANIFEST, PAGE, SOURCE, version_of
from streamcodec_bench.sample_rows import (
    BITS,
    LOST_SHARE,
    Sources,
    flac,
    lost_packets,
    matched,
    read_credits,
    rounded,
    rows,
    short,
)
from streamcodec_bench.samples import read_full_band, samples
from streamcodec_bench.spectrograms import draw, levels, top_hz

FOLDER = Path(__file__).parents[1] / "docs" / "samples"

KINDS = ["clean", "full-band", "noisy", "language", "loss", "music", "stereo", "low"]
WIDE = {"full-band", "music", "stereo"}  # kinds at 48 kHz
MOST_BYTES = 5_000_000  # of docs/samples


def read(page: str, name: str) -> Any:
    """What a page holds as JSON for its script."""
    found = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', page)
    return json.loads(found[0])


def heard(page: str) -> dict[str, tuple[np.ndarray, int]]:
    """The sounds of a page with their rates in Hz, by their names."""
    return {
        name: soundfile.read(io.BytesIO(base64.b64decode(text)), dtype="float32")
        for name, text in read(page, "sounds").items()
    }


def check_page(page: str) -> dict[str, int]:
    """Asserts that a page has all that it shows and plays; the kinds of its rows, with the rate of
    each in Hz.
    """
    for outside in (r"https?:", r"url\(", r"\bimport\b", r"\bfetch\b"):
        assert re.findall(outside, page) == [], outside
    links = re.findall(r"\b(?:src|href|action)\s*=\s*[\"']([^\"']{1,40})", page)
    assert [link for link in links if not link.startswith("data:image/webp;base64,")] == [PAGE]
    assert "default-src 'none'; img-src data:" in page
    shown, sounds, rates = read(page, "rows"), heard(page), {}
    assert {v["sound"] for row in shown for v in row["versions"]} == set(sounds)
    for row in shown:
        original, ours, opus = row["versions"]
        assert [v["name"] for v in row["versions"]] == ["original", "streamcodec", "Opus"]
        # they loop together
        [(_, rate)] = {
            (len(pcm), rate) for pcm, rate in (sounds[v["sound"]] for v in row["versions"])
        }
        rates[row["name"]] = rate
        assert original["kbps"] is None
        if row["name"] != "low":
            assert opus["kbps"] == pytest.approx(ours["kbps"], rel=0.02)
        section = page.partition(f'<section id="{row["name"]}"')[2].partition("</section>")[0]
        assert section.count('<button class="version"') == 3
        assert "<b>Listen for</b>" in section
        assert f"three versions, 0 to {8 if rate == 16_000 else 20} kHz" in section
        assert f"as recorded, {rate // 1000} kHz" in section
        for version in (ours, opus):
            assert (
                f"{version['kbps']:.2f} kbit/s (asked for {version['asked_kbps']:.2f})" in section
            )
            for metric, value in version["figures"].items():
                assert f"{metrics.METRICS[metric].title} {value:.2f}" in section
    return rates


def test_the_page_has_all_kinds_within_its_size() -> None:
    page = (FOLDER / "index.html").read_text()
    rates = check_page(page)
    assert list(rates) == KINDS
    assert {kind: rate for kind, rate in rates.items() if rate != 16_000} == dict.fromkeys(
        WIDE, 48_000
    )
    files = list(FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    assert {file.suffix for file in files} == {".flac", ".html", ".json"}


def test_figures_on_the_page_are_those_of_the_sounds_on_it() -> None:
    pytest.importorskip("pesq", reason="PESQ is not installed: extra quality")
    page = (FOLDER / "index.html").read_text()
    sounds = heard(page)
    for row in read(page, "rows"):
        original, *others = row["versions"]
        reference, rate = sounds[original["sound"]]
        names = ["pesq", *(["lsd-high"] if row["name"] in WIDE else [])]
        if row["name"] == "stereo":
            names = ["lsd-high", "stereo-level", "stereo-coherence"]
        for version in others:
            values = metrics.figures(names, reference, sounds[version["sound"]][0], rate)
            shown = {name: version["figures"][name] for name in names}
            assert shown == pytest.approx(values, abs=0.011), row["name"]


def test_rates_are_matched_and_the_lowest_is_kept() -> None:
    def code(asked: float) -> tuple[np.ndarray, int]:
        return np.zeros(16_000, np.float32), round(0.9 * asked + 300)

    asked, _, bits = matched(code, 9_000, 1.0)
    assert bits == pytest.approx(9_000, rel=0.005)
    assert asked == pytest.approx(8_700 / 0.9, rel=0.01)
    assert matched(code, 3_000, 1.0, least_bps=6_000)[0] == 6_000


def test_sounds_are_rounded_and_lose_nothing_more() -> None:
    pcm = 1.2 * voice(1.5).astype(np.float32)
    back, _ = soundfile.read(io.BytesIO(flac(pcm)), dtype="float32")
    assert np.array_equal(back, rounded(pcm))
    assert np.abs(back - np.clip(pcm, -1, 1)).max() <= 2.0 ** (1 - BITS)
    faded = short(Clip("a", "clean", np.ones(20_000, np.float32)), 1.0).pcm
    assert (len(faded), faded[0], faded[-1]) == (16_000, 0, 0)
    wide = Clip("a", "clean", np.ones(60_000, np.float32), sample_rate=48_000)
    assert len(short(wide, 1.0).pcm) == 48_000
    assert soundfile.info(io.BytesIO(flac(pcm, 48_000))).samplerate == 48_000


def test_a_short_trace_loses_its_share() -> None:
    for seed in range(3):
        trace = lost_packets(80_000, seed)[:250]
        assert trace.mean() == pytest.approx(LOST_SHARE, rel=0.1)


def test_spectrograms_have_levels_of_full_scale() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32)
    seen = levels(tone)
    assert seen[32, 20:-20] == pytest.approx(0, abs=0.1)  # bins of 31.25 Hz
    assert seen[100, 20:-20].max() < -80
    at_12_khz = np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert levels(at_12_khz, 48_000)[384, 20:-20] == pytest.approx(0, abs=0.1)
    assert (top_hz(16_000), top_hz(48_000)) == (8_000, 20_000)
    picture, media = draw([("a", tone), ("b", tone), ("c", 0 * tone)], [(0.2, 0.3)])
    assert media == "image/webp"
    assert picture[:4] == b"RIFF"


def test_credits_are_those_of_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "manifest.csv").write_text("file,speaker\na.wav,Ann\n")
    assert read_credits(tmp_path / "clips") == {}
    (tmp_path / "manifest.csv").write_text("path,source,speaker,license\nclips/a.wav,S,Ann,CC0\n")
    assert read_credits(tmp_path / "clips") == {"a": ("S", "S, Ann, CC0")}


def check(folder: Path) -> dict[str, list[str]]:
    """Asserts that the manifest in `folder` fits its files; the kinds of conditions by trial."""
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["format"] == 1
    kinds: dict[str, list[str]] = {}
    files = []
    for trial in manifest["trials"]:
        conditions = trial["conditions"]
        assert len({c["name"] for c in conditions}) == len(conditions)
        hidden = [c["file"] for c in conditions if c["kind"] == "reference"]
        assert hidden == [trial["reference"]]
        lengths = set()
        for condition in conditions:
            name = condition["file"]
            assert Path(name).name == name  # beside the page, nowhere else
            assert (condition["kbps"] is not None) == (condition["kind"] == "codec")
            info = soundfile.info(folder / name)
            lengths.add((info.frames, info.samplerate, info.channels))
            files.append(folder / name)
        assert len(lengths) == 1  # they loop together
        kinds[trial["name"]] = [c["kind"] for c in conditions]
    assert {f.name for f in folder.glob("*.flac")} == {f.name for f in files}
    assert manifest["version"] == version_of(files)
    return kinds


def test_the_manifest_of_the_listening_test_fits_the_samples() -> None:
    kinds = check(FOLDER)
    assert len(kinds) >= 2
    for conditions in kinds.values():
        assert conditions.count("reference") == conditions.count("anchor") == 1
        assert 4 <= conditions.count("codec") <= 10  # MUSHRA: twelve in a trial at most


def test_the_listening_test_loads_nothing_from_elsewhere() -> None:
    page = (FOLDER / PAGE).read_text()
    assert page == SOURCE.read_text()
    for outside in (r"https?:", r"\b(?:src|href|action)\s*=\s*[\"']", r"url\(", r"\bimport\b"):
        assert re.findall(outside, page) == [], outside
    assert "default-src 'none'; connect-src 'self'" in page
    assert f'href="{PAGE}"' in (FOLDER / "index.html").read_text()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    pytest.importorskip("av", reason="PyAV is not installed: extra quality")
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips" / "a.wav", voice(1.2), 16_000)
    return tmp_path / "clips"


def test_the_command_writes_a_listening_test_of_its_samples(
    clips: Path, tmp_path: Path, model_folder: Path
) -> None:
    out = tmp_path / "out"
    asked = ["--data", str(clips), "--out", str(out), "--model", str(model_folder)]
    done = CliRunner().invoke(samples, asked)
    assert done.exit_code == 0, done.output
    assert check(out) == {"1": ["reference", "anchor", *["codec"] * 6]}
    assert (out / PAGE).read_text() == SOURCE.read_text()
    anchor = np.abs(np.fft.rfft(soundfile.read(out / "1-low-pass.flac")[0])) ** 2
    assert anchor[len(anchor) * 5 // 8 :].sum() < 1e-3 * anchor.sum()
    (out / "1-low-pass.flac").write_bytes(b"")
    with pytest.raises(soundfile.LibsndfileError):
        check(out)
    assert [row["name"] for row in read((out / "index.html").read_text(), "rows")] == [
        *("clean", "loss", "low")
    ]
    for option in ("full-band", "noise", "foreign", "music", "stereo"):
        assert f"no --{option}: no row of it" in done.output


def test_the_command_prints_what_the_page_says(
    clips: Path, tmp_path: Path, model_folder: Path
) -> None:
    out = tmp_path / "out"
    clip = str(clips / "a.wav")
    # at full band, which the model has not
    (music := tmp_path / "music").mkdir()
    soundfile.write(music / "a.wav", voice(1.2, 48_000), 48_000)
    asked = ["--data", str(clips), "--out", str(out), "--model", str(model_folder)]
    asked += ["--noise", clip, "--foreign", clip, "--language", "<Elvish>", "--music", str(music)]
    done = CliRunner().invoke(samples, [*asked, "--credit", "a=Ann & Bob, CC0"])
    assert done.exit_code == 0, done.output
    page = (out / "index.html").read_text()
    shown = read(page, "rows")
    kinds = [kind for kind in KINDS if kind not in ("full-band", "stereo")]
    assert [row["name"] for row in shown] == kinds
    assert {rate for _, rate in heard(page).values()} == {16_000}
    for row in shown:
        for version in row["versions"][1:]:
            rates = f"{version['asked_kbps']:.2f} | {version['kbps']:.2f}"
            assert f"| {row['name']} | {version['name']} | {rates} |" in done.output
    assert "Another language (&lt;Elvish&gt;)" in page
    assert page.count("Ann &amp; Bob, CC0 (a)") >= len(kinds)
    command = html.unescape(page.partition("<pre>")[2].partition("</pre>")[0])
    assert command.startswith(f"python -m streamcodec_bench.samples --data {clips} --noise {clip} ")
    assert "--language '<Elvish>'" in command
    with pytest.raises(ConfigError, match="--credit a has no =: NAME=TEXT"):
        samples.main([*asked, "--credit", "a"], standalone_mode=False)


def test_rows_without_a_source_are_left_out(model_folder: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: extra quality")
    speech = [Clip("a", "clean", voice(1.2).astype(np.float32))]
    made = rows(
        Sources(speech, "", None, None, None, None), lambda clip: clip.name, str(model_folder)
    )
    assert [row.name for row in made] == ["clean", "loss", "low"]
    lossy = made[1]
    assert all(end - start == pytest.approx(0.02) for start, end in lossy.lost)
    assert "(a)" not in lossy.credit
    assert lossy.credit.endswith(" a")


def test_a_full_band_row_has_what_the_voice_has_above_the_core(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: extra quality")
    left = voice(1.2, 44_100)
    soundfile.write(tmp_path / "a.wav", np.stack([left, 0 * left], axis=1), 44_100)
    clip = read_full_band(tmp_path)
    assert clip is not None
    assert (clip.name, clip.sample_rate, clip.pcm.shape) == ("a", 48_000, (57_600,))
    assert np.abs(clip.pcm).max() == pytest.approx(np.abs(left).max() / 2, rel=0.1)
    speech = [Clip("a", "clean", voice(1.2).astype(np.float32))]
    made = rows(Sources(speech, "", clip, None, None, clip), lambda clip: clip.name, None)
    assert {row.name: row.sample_rate for row in made if row.sample_rate != 16_000} == (
        dict.fromkeys(WIDE - {"stereo"}, 48_000)
    )
    [row] = [row for row in made if row.name == "full-band"]
    original, ours, opus = row.versions
    assert ours.kbps == pytest.approx(opus.kbps, rel=0.02)
    assert ours.figures["lsd-high"] < opus.figures["lsd-high"]
    high = [np.abs(np.fft.rfft(v.pcm))[len(v.pcm) // 5 :] for v in (original, ours)]  # 9.6 kHz
    assert 0.25 < np.square(high[1]).sum() / np.square(high[0]).sum() < 4


def test_a_recording_below_full_band_gets_no_row_of_it(
    clips: Path, tmp_path: Path, model_folder: Path
) -> None:
    assert read_full_band(clips / "a.wav") is None
    asked = ["--data", str(clips), "--out", str(tmp_path / "out"), "--model", str(model_folder)]
    with pytest.raises(AudioError, match="--full-band .* has less than 40000 Hz"):
        samples.main([*asked, "--full-band", str(clips)], standalone_mode=False)
    assert not (tmp_path / "out").exists()


def test_a_stereo_row_has_two_channels_in_all_versions(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: extra quality")
    left, right = voice(4.5, 48_000), voice(4.5, 48_000, seed=1)
    pcm = np.stack([left, 0.3 * left + 0.1 * right], axis=1).astype(np.float32)
    clip = Clip("a", "clean", pcm, sample_rate=48_000)
    speech = [Clip("a", "clean", voice(1.2).astype(np.float32))]
    made = rows(Sources(speech, "", None, None, None, None, clip), lambda clip: clip.name, None)
    [row] = [row for row in made if row.name == "stereo"]
    for version in row.versions:
        assert version.pcm.shape == (4 * 48_000, 2)
        assert soundfile.read(io.BytesIO(flac(version.pcm, 48_000)))[0].shape == (4 * 48_000, 2)
        louder, fainter = np.std(version.pcm, axis=0)
        assert 0.3 * louder < fainter < 0.5 * louder
    assert {"stereo-level", "stereo-coherence"} <= set(row.versions[1].figures)
