"""The page of sound samples in docs, its listening test, and the command that writes both."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from conftest import voice
from streamcodec_bench.listening_page import MANIFEST, PAGE, SOURCE, version_of
from streamcodec_bench.samples import samples

FOLDER = Path(__file__).parents[1] / "docs" / "samples"


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


def test_the_command_writes_a_listening_test_of_its_samples(
    tmp_path: Path, model_folder: Path
) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: extra quality")
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips" / "a.wav", voice(1.2), 16_000)
    out = tmp_path / "out"
    asked = ["--data", str(tmp_path / "clips"), "--out", str(out), "--model", str(model_folder)]
    done = CliRunner().invoke(samples, asked)
    assert done.exit_code == 0, done.output
    assert check(out) == {"1": ["reference", "anchor", *["codec"] * 6]}
    assert (out / PAGE).read_text() == SOURCE.read_text()
    anchor = np.abs(np.fft.rfft(soundfile.read(out / "1-low-pass.flac")[0])) ** 2
    assert anchor[len(anchor) * 5 // 8 :].sum() < 1e-3 * anchor.sum()
    (out / "1-low-pass.flac").write_bytes(b"")
    with pytest.raises(soundfile.LibsndfileError):
        check(out)
