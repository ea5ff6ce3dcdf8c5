"""What lands in a user's site-packages."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_every_top_level_name_is_ours(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {
        "streamcodec",
        "streamcodec_server",
        "streamcodec_client",
        "streamcodec_models",
        "streamcodec_training",
        "streamcodec_bench",
    }


def test_type_checkers_read_our_types(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert {f"{package}/py.typed" for package in packages} <= names


def test_the_wheel_carries_the_model_the_speech_and_the_licence(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    model = "streamcodec_models/weights/voice-16k"
    for wanted in (f"{model}/model.safetensors", f"{model}/config.json", f"{model}/MODEL_CARD.md"):
        assert wanted in names
    assert "streamcodec_bench/speech/librispeech.flac" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "streamcodec = streamcodec_client.cli:main" in wheel.read(entry).decode()


def test_nothing_but_training_and_the_bench_brings_pytorch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    light = project["dependencies"] + extras["client"] + extras["relay"]
    assert not [d for d in light if d.startswith(("torch", "safetensors", "streamcodec["))]


def test_the_wheel_carries_the_native_engine_for_any_python(wheel: zipfile.ZipFile) -> None:
    assert wheel.filename is not None
    assert re.search(r"-py3-none-(linux|macosx|win)", wheel.filename)
    names = {f"streamcodec/native/{name}" for name in ("libstreamcodec.so", "libstreamcodec.dylib")}
    assert names & set(wheel.namelist())
    assert "streamcodec_models/weights/voice-16k/model.mixed.native" in wheel.namelist()


def test_the_weights_have_the_version_of_the_code_that_requires_them(tmp_path: Path) -> None:
    source = ROOT / "models" / "voice-16k"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    subprocess.run([*command, str(tmp_path), str(source)], check=True, capture_output=True)
    (made,) = tmp_path.iterdir()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert made.name == f"streamcodec_voice_16k-{version}-py3-none-any.whl"
    inside = {name for name in zipfile.ZipFile(made).namelist() if ".dist-info/" not in name}
    folder = ROOT / "models" / "streamcodec_models" / "weights" / "voice-16k"
    files = {path.name for path in folder.iterdir()} | {"LICENSE"}
    assert inside == {f"streamcodec_models/weights/voice-16k/{name}" for name in files}


def test_a_release_has_a_wheel_for_each_platform_that_has_a_name() -> None:
    targets = re.search(r"^TARGETS := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.M)
    assert targets is not None
    hook = (ROOT / "native" / "hatch_build.py").read_text()
    named = re.findall(r'^    "([\w.-]+)": "(?:manylinux|macosx|win)\w+",$', hook, re.M)
    assert len(named) == 5
    assert targets[1].replace("\\", "").split() == named


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    wanted = project["dependencies"] + [
        d for extra in project["optional-dependencies"].values() for d in extra
    ]
    names = {re.split(r"[<>=;\[]", d)[0].strip().lower() for d in wanted} - {"streamcodec"}
    assert names <= locked
