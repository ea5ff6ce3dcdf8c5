"""`streamcodec train` and what stands below it."""

import dataclasses
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result
from torch import Tensor

import streamcodec_training.run
from conftest import SMALL, small_vae, voice
from streamcodec import StreamDecoder, StreamEncoder, load_model
from streamcodec.errors import ConfigError, OutputError
from streamcodec_client.cli import main
from streamcodec_models.catalogue import folder_of
from streamcodec_training import __main__ as torchrun_module
from streamcodec_training import checkpoint, cli, export, tables
from streamcodec_training.checkpoint import Checkpoint
from streamcodec_training.cli import train
from streamcodec_training.config import TrainingConfig
from streamcodec_training.learner import Learner, Moment
from training_runs import full_disk, make_corpus

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


@pytest.fixture(scope="module", autouse=True)
def _quick_export() -> Iterator[None]:
    """Few segments and few rounds: what is tested here is not how good the tables are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "FIT_SEGMENTS", 2)
        patch.setattr(export, "CALIBRATION_SECONDS", 1)
        patch.setattr(tables, "SCALE_STEPS", 10)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("command") / "corpus")


@pytest.fixture
def shape(tmp_path: Path) -> Path:
    path = tmp_path / "shape.json"
    path.write_text(SMALL.to_json())
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(train, list(map(str, arguments)), catch_exceptions=False)


def run_of(corpus: Path, out: Path, shape: Path, steps: int) -> tuple[object, ...]:
    return (
        *("--data", corpus, "--out", out, "--config", shape, "--steps", steps),
        *("--batch", 2, "--device", "cpu", "--no-augment"),
    )


def test_a_run_learns_is_resumed_and_becomes_a_model_that_codes(
    corpus: Path, tmp_path: Path, shape: Path
) -> None:
    out, model = tmp_path / "run", tmp_path / "model"
    ended = invoke(*run_of(corpus, out, shape, 3))
    assert ended.exit_code == 0
    assert "distortion  how far the decoded sound is from the original" in ended.output
    assert "100%|██████████| step 3, 0 min left, loss " in ended.output
    first = checkpoint.load(out / "checkpoint.pt").clock
    ended = invoke(*run_of(corpus, out, shape, 5), "--export", model)
    assert ended.exit_code == 0
    assert "at step 3, 0 min in, 60% done" in ended.output
    assert "\r 60%|" in ended.output
    for said in ("entropy tables: coding: 100%", "fitting, 2 of 2: 100%", "measuring: 100%"):
        assert said in ended.output
    second = checkpoint.load(out / "checkpoint.pt").clock
    assert first is not None
    assert second is not None
    assert (first["step"], second["step"]) == (3, 5)
    assert list((out / "events").iterdir())
    shipped = checkpoint.load_vae(model).state_dict()
    for name, value in checkpoint.load(out / "checkpoint.pt").final_weights.items():
        assert torch.equal(shipped[name], value.half().float())
    loaded = load_model(model, "cpu")
    encoder = StreamEncoder(loaded, quality=0.5)
    payloads = encoder.encode(voice(1.0))
    assert np.isfinite(StreamDecoder(loaded, encoder.config).decode(payloads[0])).all()


def test_a_run_whose_budget_is_spent_says_so_and_keeps_its_checkpoint(
    corpus: Path, tmp_path: Path, shape: Path
) -> None:
    invoke(*run_of(corpus, tmp_path, shape, 2))
    before = (tmp_path / "checkpoint.pt").stat().st_ino
    ended = invoke(*run_of(corpus, tmp_path, shape, 1))
    assert ended.exit_code == 0
    assert "nothing is left to do: more --steps" in ended.output
    assert (tmp_path / "checkpoint.pt").stat().st_ino == before


@pytest.mark.parametrize(
    ("number", "status", "exported"),
    [(signal.SIGINT, 0, True), (signal.SIGTERM, 143, False), (signal.SIGHUP, 129, False)],
)
def test_a_signal_ends_a_run_with_its_last_checkpoint(
    corpus: Path,
    tmp_path: Path,
    shape: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    status: int,
    exported: bool,
) -> None:
    """Who presses Ctrl-C still gets a model of what was learned; a system that shuts down does not
    wait for one.
    """
    step, exports = Learner.step, list[Path]()

    def interrupted(learner: Learner, x: Tensor, lost: Tensor, when: Moment) -> dict[str, Tensor]:
        figures = step(learner, x, lost, when)
        if when.step == 2:
            os.kill(os.getpid(), number)
        return figures

    monkeypatch.setattr(Learner, "step", interrupted)
    monkeypatch.setattr(cli, "_export", lambda path, *_: exports.append(path))
    # In the background, the suite inherits that SIGINT is ignored; under nohup, SIGHUP.
    before = {
        each: signal.signal(each, handler)
        for each, handler in [
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGHUP, signal.SIG_DFL),
        ]
    }
    try:
        ended = invoke(*run_of(corpus, tmp_path / "run", shape, 9), "--export", tmp_path / "model")
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert ended.exit_code == status
    assert "stopped at step 2; the same command goes on from there" in ended.output
    saved = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert saved.clock is not None
    assert saved.clock["step"] == 2
    assert bool(exports) is exported


def test_a_failed_export_leaves_the_model_before(
    corpus: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "checkpoint.pt", tmp_path / "model"
    checkpoint.save(path, Checkpoint(SMALL, small_vae(seed=1).state_dict()))
    shutil.copytree(model_folder, model)
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    monkeypatch.setattr(export, "pack", lambda *_, **named: full_disk(0))
    with pytest.raises(OutputError, match=r"model\.safetensors: no space left on the disk"):
        invoke("finish", path, "--data", corpus, "--export", model, "--no-fit-swell")
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before


def test_where_a_model_cannot_go_is_said_before_the_work(
    corpus: Path, tmp_path: Path, shape: Path
) -> None:
    target = shape / "model"
    with pytest.raises(OutputError, match=r"cannot write into .*model: .*shape\.json is no folder"):
        invoke(*run_of(corpus, tmp_path / "run", shape, 2), "--export", target)
    assert not (tmp_path / "run").exists()


def test_of_several_processes_one_exports(
    corpus: Path, tmp_path: Path, shape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    ended = invoke(*run_of(corpus, tmp_path / "run", shape, 1), "--export", tmp_path / "model")
    assert (ended.exit_code, ended.output) == (0, "")
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_run_without_a_folder_says_which_option_is_missing(corpus: Path) -> None:
    ended = invoke("--data", corpus, "--steps", 1)
    assert ended.exit_code == 2
    assert "Missing option --out." in ended.output


OTHER = {
    "prior_rate": 2e-3,
    "beta_waveform_low": 3e-5,
    "beta_waveform_high": 2e-6,
    "waveform_share": 0.25,
    "batch": 3,
    "segment_s": 0.5,
    "seed": 7,
    "device": "cpu",
    "augment": False,
    "matrix_rate": 1.5e-3,
    "vector_rate": 2e-4,
    "linear_rate": 2e-5,
    "decay_from": 0.1,
    "average_decay": 0.99,
    "beta_low": 4.7e-4,
    "beta_high": 1.9e-6,
    "low_rates": 1.2,
    "rate_ramp_steps": 1,
    "draws": 2,
    "loudness_weight": 0.6,
    "buzz_weight": 0.1,
    "repetition_weight": 1.0,
    "adversarial": True,
    "compile": True,
    "checkpoint_minutes": 2.0,
    "log_steps": 5,
}
SWITCHES = {"augment": "--no-augment", "adversarial": "--adversarial", "compile": "--compile"}


def test_every_field_of_a_run_has_a_flag(
    corpus: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[TrainingConfig] = []
    monkeypatch.setattr(
        streamcodec_training.run, "train", lambda config, shape: runs.append(config)
    )
    paths = {"data": corpus, "noise": corpus, "out": tmp_path, "warm_start": model_folder}
    recording = {"sample": corpus / "a.wav", "minutes": 2.5}
    flags: list[object] = []
    for name, value in (paths | recording | OTHER).items():
        flags += [SWITCHES.get(name, f"--{name.replace('_', '-')}")]
        flags += [] if name in SWITCHES else [value]
    assert invoke(*flags).exit_code == 0
    assert runs == [TrainingConfig(**(paths | recording | OTHER))]  # type: ignore[arg-type]
    unnamed = {field.name for field in dataclasses.fields(TrainingConfig)} - set(
        paths | recording | OTHER
    )
    assert unnamed == {"steps"}  # excludes minutes; other tests give it


def test_a_run_begins_with_a_model_that_ships_by_its_name(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[TrainingConfig] = []
    monkeypatch.setattr(
        streamcodec_training.run, "train", lambda config, shape: runs.append(config)
    )
    named = ("--warm-start", "voice-16k")
    assert invoke("--data", corpus, "--out", tmp_path, "--steps", 9, *named).exit_code == 0
    assert runs[0].warm_start == folder_of("voice-16k")


def test_without_flags_a_run_has_the_defaults_of_its_config(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[TrainingConfig] = []
    monkeypatch.setattr(
        streamcodec_training.run, "train", lambda config, shape: runs.append(config)
    )
    assert invoke("--data", corpus, "--out", tmp_path, "--steps", 9).exit_code == 0
    assert runs == [TrainingConfig(corpus, tmp_path, steps=9)]


def test_settings_come_from_the_environment_and_from_a_file(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[TrainingConfig] = []
    monkeypatch.setattr(
        streamcodec_training.run, "train", lambda config, shape: runs.append(config)
    )
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[train]\ndata = "{corpus}"\nmatrix-rate = 2e-3\nsteps = 4\n')
    monkeypatch.setenv("STREAMCODEC_TRAIN_BUZZ_WEIGHT", "0.2")
    assert main(["--config", str(settings), "train", "--out", str(tmp_path / "run")]) == 0
    assert runs == [
        TrainingConfig(corpus, tmp_path / "run", steps=4, matrix_rate=2e-3, buzz_weight=0.2)
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """Weights of the models that `finish` makes of one checkpoint, by the flags it was given."""
    folder = tmp_path_factory.mktemp("finish")
    data = folder / "data"
    data.mkdir()
    for seed in range(2):
        soundfile.write(data / f"{seed}.wav", voice(7, seed=seed), 16_000)
    soundfile.write(data / "silent.wav", np.zeros(7 * 16_000), 16_000)
    (data / "bad.wav").write_text("no audio")
    checkpoint.save(folder / "run" / "checkpoint.pt", Checkpoint(SMALL, small_vae().state_dict()))
    made = {}
    for flags in ("--no-fit-swell", "--fit-noise 1 --no-fit-swell", "--fit-swell"):
        target = folder / f"model{len(made)}"
        command = ("finish", folder / "run" / "checkpoint.pt", "--data", data, "--export", target)
        ended = invoke(*command, *flags.split())
        assert ended.exit_code == 0
        assert f"exported: {target}" in ended.output
        made[flags] = checkpoint.load_vae(target).state_dict()
    return made


Finished = dict[str, dict[str, torch.Tensor]]


def changed(finished: Finished, flags: str) -> set[str]:
    """Names of the weights in which a model differs from the one without any fit."""
    plain = finished["--no-fit-swell"]
    return {name for name, value in finished[flags].items() if not torch.equal(plain[name], value)}


def test_finish_without_fits_ships_the_weights_of_the_checkpoint(finished: Finished) -> None:
    for name, value in small_vae().state_dict().items():
        assert torch.equal(finished["--no-fit-swell"][name], value.half().float())


def test_finish_moves_the_levels_of_the_noise_alone(finished: Finished) -> None:
    flags = "--fit-noise 1 --no-fit-swell"
    assert changed(finished, flags) == {"head.weight", "head.bias"}
    plain, fitted = finished["--no-fit-swell"]["head.bias"], finished[flags]["head.bias"]
    edge = 2 * SMALL.bins + int(2_000 * SMALL.frame / SMALL.sample_rate)
    assert torch.equal(plain[:edge], fitted[:edge])
    assert (plain[edge:] != fitted[edge:]).all()


def test_finish_moves_the_depth_of_swells_alone(finished: Finished) -> None:
    names = {"noise_envelope.depth.weight", "noise_envelope.depth.bias"}
    assert changed(finished, "--fit-swell") == names


def test_finish_says_what_the_fit_of_swells_needs(corpus: Path, tmp_path: Path) -> None:
    path, target = tmp_path / "checkpoint.pt", tmp_path / "model"
    checkpoint.save(path, Checkpoint(SMALL, small_vae().state_dict()))
    command = ["train", "finish", path, "--data", corpus, "--export", target]
    assert main(list(map(str, command))) == 2
    assert not target.exists()


def test_average_writes_a_checkpoint_to_go_on_from(tmp_path: Path, model_folder: Path) -> None:
    assert invoke("average", model_folder, model_folder, 0.5, tmp_path / "mixed.pt").exit_code == 0
    mixed = checkpoint.load(tmp_path / "mixed.pt")
    assert torch.equal(mixed.model["noise"], small_vae().state_dict()["noise"].half().float())


def test_curves_of_a_run_become_a_picture(corpus: Path, tmp_path: Path, shape: Path) -> None:
    with pytest.raises(ConfigError, match=r"no curve of lagrangian in .*name the folder of a run"):
        invoke("curves", tmp_path, tmp_path / "curves.png")
    invoke(*run_of(corpus, tmp_path / "run", shape, 2), "--log-steps", 1)
    with pytest.raises(ConfigError, match=r"curves\.txt ends in none of .*\.png"):
        invoke("curves", tmp_path / "run", tmp_path / "curves.txt")
    assert invoke("curves", tmp_path / "run", tmp_path / "curves.png").exit_code == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nosuch"], "'--data': Directory 'nosuch' does not exist."),
        (["--data", ".", "--out", "run", "--steps", "0"], "0"),
    ],
)
def test_under_torchrun_a_mistake_is_one_line_of_one_process(
    arguments: list[str],
    said: str,
    rank: str,
    lines: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr(sys, "argv", ["streamcodec_training", *arguments])
    assert torchrun_module.main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == lines
    assert said in error or lines == 0


def test_a_process_that_lost_the_others_leaves_the_reason_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train(**_: object) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:1234")

    monkeypatch.setattr(torchrun_module, "train", train)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert torchrun_module.main() == 1
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(RuntimeError, match="closed by peer"):
        torchrun_module.main()
