"""`bench quality` as a judge: metrics from outside, speakers, sets beside the headline set."""

import dataclasses
import importlib.util
import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from conftest import SPEECH, voice
from streamcodec.errors import AudioError, ConfigError
from streamcodec_bench import metrics
from streamcodec_bench.cli import bench
from streamcodec_bench.codecs import low_passed
from streamcodec_bench.formats import SAMPLE_RATE
from streamcodec_bench.quality import Score, pairs, summarise
from streamcodec_bench.quality_report import pair_table

ROOT = Path(__file__).parents[1]
# A package that imports torchaudio, prints when it loads its weights, and scores the mean sample.
STAND_IN = """
import torch
import torchaudio


class ConvTransformerSQAModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        print("weights loaded")

    def forward(self, pcm):
        assert not torch.is_grad_enabled()
        return pcm.mean(1, keepdim=True)
"""


@pytest.fixture
def no_distillmos(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither loaded nor importable; what was loaded comes back afterwards."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("distillmos", "xls_r_sqa")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distillmos", None)
    metrics._distillmos.cache_clear()
    yield
    metrics._distillmos.cache_clear()


@pytest.mark.parametrize("there", [None, types.ModuleType("torchaudio")])
def test_distillmos_hears_the_output_and_leaves_torchaudio_as_it_was(
    there: types.ModuleType | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_distillmos: None,
) -> None:
    (tmp_path / "distillmos.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "distillmos")
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    if there is not None:
        monkeypatch.setitem(sys.modules, "torchaudio", there)
    value = metrics.distillmos(np.zeros(160, np.float32), np.full(160, 3, np.float32))
    assert value == 3
    assert sys.modules.get("torchaudio") is there
    assert capsys.readouterr().out == ""
    sys.modules.pop("distillmos")


def test_a_missing_distillmos_is_named_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_distillmos: None
) -> None:
    way = "pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0"
    with pytest.raises(ConfigError, match=way):
        metrics.distillmos(np.zeros(160, np.float32), np.zeros(160, np.float32))
    missing = dataclasses.replace(metrics.METRICS["distillmos"], needs="no_such_library")
    monkeypatch.setitem(metrics.METRICS, "distillmos", missing)
    monkeypatch.setitem(metrics.INSTALL_BY_HAND, "no_such_library", way)
    asked = ["quality", "--data", str(tmp_path), "--codecs", "reference", "--metrics", "distillmos"]
    done = CliRunner().invoke(bench, asked)
    assert done.exit_code == 2
    assert f"need no_such_library: {way}" in done.output


def test_distillmos_prefers_the_whole_band_and_less_noise() -> None:
    # imported by the metric alone, which first puts a stand-in in the place of torchaudio
    if importlib.util.find_spec("distillmos") is None:
        pytest.skip(metrics.INSTALL_BY_HAND["distillmos"])
    pcm = soundfile.read(SPEECH, dtype="float32")[0][: 6 * SAMPLE_RATE]
    noise = np.random.default_rng(0).standard_normal(len(pcm)).astype(np.float32)
    whole = metrics.distillmos(pcm, pcm)
    assert whole == pytest.approx(4.54, abs=0.05)
    assert whole > metrics.distillmos(pcm, low_passed(pcm, 0).pcm) + 0.3
    assert whole > metrics.distillmos(pcm, pcm + 0.02 * noise) + 1


def test_training_knows_no_judge() -> None:
    for source in (ROOT / "models" / "training").rglob("*.py"):
        assert "distillmos" not in source.read_text(), source


def score(
    clip: str, value: float, speaker: str = "", codec: str = "x", rate: float = 6_000, to: str = ""
) -> Score:
    """A clip of class `to` through `codec`, with the same figure by PESQ and by WER."""
    values = {"pesq": value, "wer": value}
    return Score(codec, rate, to or "clean", clip, rate, values, 0.1, 0.1, speaker)


def test_the_worst_tenth_is_of_speakers_and_not_of_clips() -> None:
    scores = [score(f"{n}{take}", n, f"s{n}") for n in range(1, 12) for take in "ab"]
    scores += [score("bad", 0.5, "s11"), score("unknown", np.nan, "s1")]
    (row,) = summarise(scores)
    assert row.speakers == 11
    assert row.worst_tenth["pesq"] == pytest.approx(1.5)  # two of eleven: s1 and s2
    assert row.worst_tenth["wer"] == pytest.approx(9.5)  # s9 and s10: "bad" takes s11 to 7.5


def test_a_clip_without_a_speaker_counts_as_one_of_its_own() -> None:
    (row,) = summarise([score(str(n), n) for n in range(20)])
    assert row.speakers == 20
    assert row.worst_tenth["pesq"] == pytest.approx(0.5)


def test_ours_is_set_beside_the_anchor_at_the_nearest_rate_of_each_class() -> None:
    ours = [
        score(clip, 3 + lead, codec="streamcodec", rate=rate, to=to)
        for to, lead in (("en", 0.0), ("da", 1.0))
        for rate in (3_000, 6_000, 12_000)
        for clip in "ab"
    ]
    anchor = [
        score(clip, value, codec="opus", rate=rate, to=to)
        for to in ("en", "da")
        for rate in (5_700, 13_000)
        for clip, value in (("a", 1.0), ("b", 2.0))
    ]
    scores = ours + anchor
    groups = dict.fromkeys((s.codec, s.target_bps) for s in scores)
    rows = [
        r for g in groups for r in summarise([s for s in scores if (s.codec, s.target_bps) == g])
    ]
    made = pairs(rows, scores)
    assert [(p.content, p.ours_kbps, p.anchor_kbps) for p in made] == [
        ("en", 6.0, 5.7),
        ("da", 6.0, 5.7),
        ("en", 12.0, 13.0),
        ("da", 12.0, 13.0),
    ]
    assert [p.differences["pesq"] for p in made] == [1.5, 2.5, 1.5, 2.5]
    assert made[0].intervals["pesq"] == pytest.approx(1.96 * 0.5**0.5 / 2**0.5)
    assert "| da | 2 | 6.00 | 5.70 | 4.00 | 1.50 | +2.50 ± 0.98 |" in pair_table(made, ["pesq"])
    assert pairs([r for r in rows if r.codec != "opus"], scores) == []


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """en: three clips of two speakers; other/da: one of a third; manifest.csv above them."""
    lines = ["path,speaker,language"]
    for file, speaker, language in (
        ("en/a.wav", "ann", "en"),
        ("en/b.wav", "ann", "en"),
        ("en/c.wav", "bob", "en"),
        ("other/da/d.wav", "dan", "da"),
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / file, voice(1.2, seed=len(lines)), 16_000)
        lines.append(f"{file},{speaker},{language}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def judged(corpus: Path, *more: str) -> Result:
    data = ["--data", str(corpus / "en"), "--codecs", "reference", "--metrics", "lsd"]
    return CliRunner().invoke(bench, ["quality", *data, "--jobs", "1", *more])


def test_speakers_come_from_the_manifest_above_the_clips(corpus: Path) -> None:
    done = judged(corpus)
    assert done.exit_code == 0, done.output
    assert "| reference | clean | 3 | 2 | - |" in done.output
    assert f"speakers: {corpus / 'manifest.csv'} names those of 3 of 3 clips" in done.output


def test_without_a_manifest_the_report_says_so(corpus: Path) -> None:
    (corpus / "manifest.csv").write_text("name,weight\nx,1\n")  # about something else
    done = judged(corpus)
    assert "| reference | clean | 3 | 3 | - |" in done.output
    assert "speakers: not known (no --speakers, no manifest.csv)" in done.output


def test_a_csv_of_speakers_may_name_files_alone(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text("file,speaker\na.wav,x\nb.wav,x\nc.wav,x\n")
    done = judged(corpus, "--speakers", str(tmp_path / "who.csv"))
    assert "| reference | clean | 3 | 1 | - |" in done.output


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "name,who\na,x\n",
            "has the columns name, who: it needs columns file or path",
        ),
        ("", "has the columns of an empty file: it needs columns file or path"),
        ("file,speaker\na.wav,x\n", "names no speaker for .*b.wav: it needs columns file or path"),
        ("file,speaker\na.wav,x\na.wav,y\n", "line 3: a.wav is named twice"),
    ],
)
def test_a_csv_of_speakers_that_does_not_fit_is_refused(
    corpus: Path, tmp_path: Path, text: str, error: str
) -> None:
    (tmp_path / "who.csv").write_text(text)
    done = judged(corpus, "--speakers", str(tmp_path / "who.csv"))
    assert isinstance(done.exception, ConfigError)
    assert re.search(error, str(done.exception))


def test_another_set_gets_a_table_of_its_own_by_folder_and_language(
    corpus: Path, model_folder: Path
) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: extra quality")
    out = corpus / "out"
    codecs = ["--codecs", "streamcodec,opus", "--rates", "6", "--model", str(model_folder)]
    done = judged(corpus, *codecs, "--also", str(corpus / "other"), "--out", str(out))
    assert done.exit_code == 0, done.output
    headline, beside = done.output.split("da (da):")
    assert "| da (da) |" not in headline
    assert beside.count("| streamcodec | da (da) | 1 | 1 |") == 1
    assert "streamcodec beside opus at the nearest rate:" in beside
    report = json.loads((out / "quality.json").read_text())
    assert [pair["content"] for pair in report["pairs"]] == ["clean", "da (da)"]
    assert report["rows"][0]["worst_tenth"].keys() == {"lsd"}
    assert (out / "quality.md").read_text().strip() == done.output.strip()


def test_a_set_that_is_the_headline_alone_or_has_its_name_is_refused(corpus: Path) -> None:
    done = judged(corpus, "--also", str(corpus / "en"))
    assert isinstance(done.exception, AudioError)
    assert re.search("no audio below .*en beside .*en", str(done.exception))
    (corpus / "other" / "da").rename(corpus / "other" / "clean")
    done = judged(corpus, "--also", str(corpus / "other"))
    assert isinstance(done.exception, ConfigError)
    assert "a class 'clean' already; rename the folder" in str(done.exception)
