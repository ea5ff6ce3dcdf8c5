"""`bench quality` as a judge: metrics from outside, speakers, sets beside the headline set."""

import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from conftest import SPEECH
from streamcodec.errors import ConfigError
from streamcodec_bench import metrics
from streamcodec_bench.cli import bench
from streamcodec_bench.codecs import low_passed

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
    value = metrics.METRICS["distillmos"](np.zeros(160, np.float32), np.full(160, 3, np.float32))
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
    monkeypatch.setitem(metrics.NEEDS, "distillmos", "no_such_library")
    monkeypatch.setitem(metrics.INSTALL_BY_HAND, "no_such_library", way)
    asked = ["quality", "--data", str(tmp_path), "--codecs", "reference", "--metrics", "distillmos"]
    done = CliRunner().invoke(bench, asked)
    assert done.exit_code == 2
    assert f"need no_such_library: {way}" in done.output


def test_distillmos_prefers_the_whole_band_and_less_noise() -> None:
    # imported by the metric alone, which first puts a stand-in in the place of torchaudio
    if importlib.util.find_spec("distillmos") is None:
        pytest.skip(metrics.INSTALL_BY_HAND["distillmos"])
    pcm = soundfile.read(SPEECH, dtype="float32")[0][: 6 * metrics.SAMPLE_RATE]
    noise = np.random.default_rng(0).standard_normal(len(pcm)).astype(np.float32)
    whole = metrics.distillmos(pcm, pcm)
    assert whole == pytest.approx(4.54, abs=0.05)
    assert whole > metrics.distillmos(pcm, low_passed(pcm, 0).pcm) + 0.3
    assert whole > metrics.distillmos(pcm, pcm + 0.02 * noise) + 1


def test_training_knows_no_judge() -> None:
    for source in (ROOT / "models" / "training").rglob("*.py"):
        assert "distillmos" not in source.read_text(), source
