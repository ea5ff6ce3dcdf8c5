"""Checkpoints: written whole or not at all, read with one error, mixed."""

import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch

from conftest import SMALL, small_vae
from streamcodec.errors import ModelError, OutputError
from streamcodec_training import checkpoint
from streamcodec_training.average import average
from streamcodec_training.checkpoint import Checkpoint
from training_runs import full_disk


def ones(value: float) -> dict[str, torch.Tensor]:
    """Weights of the small model that all have one value."""
    state = small_vae().state_dict()
    return {name: torch.full_like(tensor, value) for name, tensor in state.items()}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.pt"
    saved = Checkpoint(SMALL, ones(1), average=ones(2), clock={"step": 3, "elapsed_s": 0.5})
    checkpoint.save(path, saved)
    loaded = checkpoint.load(path)
    assert (loaded.model_config, loaded.clock) == (SMALL, saved.clock)
    assert loaded.optimizers is None
    assert all(torch.equal(loaded.model[name], tensor) for name, tensor in ones(1).items())
    assert list(path.parent.iterdir()) == [path]


def test_ctrl_c_while_saving_waits_for_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = torch.save

    def interrupted(state: object, path: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write(state, path)

    monkeypatch.setattr(torch, "save", interrupted)
    # In the background, the suite inherits that SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path / "run.pt", Checkpoint(SMALL, ones(1)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert checkpoint.load(tmp_path / "run.pt").model_config == SMALL


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.pt"
    checkpoint.save(path, Checkpoint(SMALL, ones(1)))
    monkeypatch.setattr(os, "fsync", full_disk)
    wanted = r"cannot write .*run\.pt: no space left on the disk that holds /"
    with pytest.raises(OutputError, match=wanted):
        checkpoint.save(path, Checkpoint(SMALL, ones(2)))
    assert checkpoint.load(path).model["head.bias"][0] == 1
    assert list(tmp_path.iterdir()) == [path]


NAN = float("nan")


@pytest.mark.parametrize(
    "bad",
    [
        Checkpoint(SMALL, ones(NAN)),
        Checkpoint(SMALL, ones(1), average=ones(float("inf"))),
        Checkpoint(SMALL, ones(1), optimizers=[{"state": {0: {"momentum": torch.tensor(NAN)}}}]),
        Checkpoint(SMALL, ones(1), clock={"step": 3, "elapsed_s": NAN}),
    ],
    ids=["weights", "running mean", "optimiser", "clock"],
)
def test_what_is_not_finite_is_neither_saved_nor_loaded(tmp_path: Path, bad: Checkpoint) -> None:
    path = tmp_path / "run.pt"
    checkpoint.save(path, Checkpoint(SMALL, ones(1)))
    with pytest.raises(ModelError, match=r"not finite: .*run\.pt is not written"):
        checkpoint.save(path, bad)
    assert checkpoint.load(path).model["head.bias"][0] == 1
    old = {key: value for key, value in bad.__dict__.items() if value is not None}
    torch.save({**old, "model_config": dataclasses.asdict(SMALL)}, path)  # as 0.1.0 did
    with pytest.raises(ModelError, match=r"run\.pt is of no use: .* not finite"):
        checkpoint.load(path)


def test_the_network_has_the_running_mean_of_a_run_that_kept_one(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    checkpoint.save(path, Checkpoint(SMALL, ones(1), average=ones(2)))
    vae = checkpoint.load_vae(path)
    assert vae.head.bias[0] == 2
    assert not vae.training
    checkpoint.save(path, Checkpoint(SMALL, ones(1)))
    assert checkpoint.load_vae(path).head.bias[0] == 1


def test_a_model_folder_gives_its_network(model_folder: Path) -> None:
    wanted = {name: tensor.half().float() for name, tensor in small_vae().state_dict().items()}
    found = checkpoint.load_vae(model_folder).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no checkpoint",
        {"model": {}},
        {"model_config": {"hop": "long"}, "model": {}},
        {"model_config": {"no such key": 1}, "model": {}},
        {"model_config": {}, "model": {}, "no such key": 1},
        [1, 2],
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=r"other\.pt is no checkpoint of a training: ."):
        checkpoint.load(path)


def test_a_missing_file_and_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pt is no checkpoint"):
        checkpoint.load_vae(tmp_path / "none.pt")
    path = tmp_path / "run.pt"
    checkpoint.save(path, Checkpoint(SMALL, {"head.bias": torch.ones(3)}))
    with pytest.raises(ModelError, match=r"run\.pt: its weights do not fit its shape"):
        checkpoint.load_vae(path)


def test_weights_a_quarter_of_the_way_between_two_runs(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.pt", "b.pt", "mixed.pt")]
    checkpoint.save(paths[0], Checkpoint(SMALL, ones(9), average=ones(1)))
    checkpoint.save(paths[1], Checkpoint(SMALL, ones(3)))
    average(paths[0], paths[1], 0.25, paths[2])
    assert checkpoint.load(paths[2]).model["head.bias"].unique().tolist() == [1.5]


def test_different_shapes_are_not_mixed(tmp_path: Path, model_folder: Path) -> None:
    from streamcodec_models.config import VaeConfig

    path = tmp_path / "a.pt"
    checkpoint.save(path, Checkpoint(VaeConfig(), {}))
    with pytest.raises(ModelError, match="different shapes"):
        average(path, model_folder, 0.5, tmp_path / "mixed.pt")
