"""Runs of seconds: they learn, are resumed, begin from a model, and teach a decoder alone."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from conftest import SMALL, small_vae, voice
from streamcodec.errors import AudioError, ConfigError, ModelError, OutputError
from streamcodec_training import checkpoint, stream
from streamcodec_training.adversary import AdversarialStage
from streamcodec_training.board import SAMPLE_QUALITIES, SAMPLE_S, Board
from streamcodec_training.config import TrainingConfig
from streamcodec_training.corpus import read_mono
from streamcodec_training.learner import Moment
from streamcodec_training.objective import Objective
from streamcodec_training.optimisers import ENCODER_PARTS, learning_rate_share
from streamcodec_training.run import Run, train
from training_runs import continued, full_disk, make_corpus, short_run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("training") / "corpus")


def test_learning_rate_warms_up_stays_and_ends_low() -> None:
    assert learning_rate_share(0.0, 0, 0.4) < 0.01
    assert learning_rate_share(0.3, 1000, 0.4) == 1.0
    assert learning_rate_share(0.7, 5000, 0.4) == pytest.approx(0.5)
    assert learning_rate_share(1.0, 9000, 0.4) == 0.01


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either a number of steps or of minutes"),
        ({"steps": 3, "minutes": 1.0}, "either a number of steps or of minutes"),
        ({"steps": 3, "batch": 0}, "need a batch >= 1"),
        ({"steps": 3, "segment_s": 0.1}, r"segments >= 0\.2 s"),
        ({"steps": 3, "beta_low": 1e-9}, "need 0 < beta_high < beta_low"),
        ({"steps": 3, "decay_from": 1.0}, "decay_from"),
        ({"steps": 3, "average_decay": 1.0}, "average_decay"),
        ({"steps": 3, "draws": 3}, "1 or 2 draws"),
        ({"steps": 3, "rate_ramp_steps": 0}, "rate_ramp_steps"),
        ({"steps": 3, "adversarial": True}, "need a trained model"),
    ],
)
def test_impossible_runs_are_refused(
    fields: dict[str, float], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(tmp_path, tmp_path, **fields)  # type: ignore[arg-type]


def test_a_run_that_diverges_leaves_its_last_good_checkpoint(corpus: Path, tmp_path: Path) -> None:
    config = short_run(corpus, tmp_path, steps=2)
    path = train(config, SMALL)
    before = path.read_bytes()
    rates = {"matrix_rate": 1e6, "vector_rate": 1e6, "linear_rate": 1e6}
    wild = dataclasses.replace(continued(config, 9), **rates)
    with pytest.raises(ModelError, match=r"^step \d: not finite: .*stays as it was at step 2"):
        train(wild, SMALL)
    assert path.read_bytes() == before
    fresh = dataclasses.replace(wild, out=tmp_path / "fresh")
    with pytest.raises(ModelError, match=r"^step \d: not finite: .*no checkpoint was written"):
        train(fresh, SMALL)
    assert not (fresh.out / "checkpoint.pt").exists()


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = dataclasses.replace(short_run(corpus, tmp_path), checkpoint_minutes=1e-9)
    run = Run(config, SMALL)
    full = True

    def fsync(file: int) -> None:
        if full:
            full_disk(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(
        OutputError, match=r"cannot write .*checkpoint\.pt: no space left on the disk that holds /"
    ):
        run.train()
    assert run.progress.step == 3
    assert capsys.readouterr().err.count("warning: cannot write") == 3
    full = False
    train(continued(config, 4), SMALL)
    assert checkpoint.load(run.checkpoint).clock is not None


def test_curves_on_a_full_disk_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board(tmp_path, None)
    monkeypatch.setattr(SummaryWriter, "add_scalar", lambda *_: full_disk(0))
    figures = dict.fromkeys(("lagrangian", "distortion", "kbit/s"), torch.tensor(1.0))
    for step in range(3):
        board.show(step, figures, 1.0, 0.1, 60.0)
    board.close()
    assert capsys.readouterr().err.count("training goes on without curves") == 1


@pytest.mark.parametrize("segment_s", [0.2, 0.25])
def test_short_segments_have_a_gradient(corpus: Path, tmp_path: Path, segment_s: float) -> None:
    config = dataclasses.replace(short_run(corpus, tmp_path, steps=1), segment_s=segment_s)
    learned = torch.load(train(config, SMALL))["model"]
    assert all(bool(tensor.isfinite().all()) for tensor in learned.values())


def test_a_sample_that_is_no_audio_ends_no_run_later(corpus: Path, tmp_path: Path) -> None:
    sample = tmp_path / "sample.wav"
    sample.write_text("no audio")
    with pytest.raises(AudioError, match=r"cannot read .*sample\.wav as audio"):
        Run(dataclasses.replace(short_run(corpus, tmp_path), sample=sample), SMALL)


@pytest.mark.parametrize("waveform_share", [0.0, 1.0])
def test_the_loss_falls(corpus: Path, tmp_path: Path, waveform_share: float) -> None:
    config = short_run(corpus, tmp_path)
    run = Run(dataclasses.replace(config, batch=4, waveform_share=waveform_share), SMALL)
    batches = iter(run.sampler)
    losses = []
    for step in range(60):
        x, lost = (torch.from_numpy(part) for part in next(batches))
        at = Moment(1000 + step, 0.0)  # past the warm-up and the ramp of the price of bits
        losses.append(run.learner.step(x, lost, at)["lagrangian"].item())
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize("setting", ["loudness_weight", "buzz_weight", "repetition_weight"])
def test_weights_of_the_objective_weigh(tmp_path: Path, setting: str) -> None:
    x, quality = (
        torch.from_numpy(np.stack([voice(1.0), voice(1.0, seed=1)])),
        torch.tensor([0.0, 1.0]),
    )
    outputs, bits = (x + 0.05 * torch.randn_like(x))[None], torch.full((2, 50), 100.0)

    def loss(weight: float) -> float:
        config = dataclasses.replace(short_run(tmp_path, tmp_path), **{setting: weight})  # type: ignore[arg-type]
        objective = Objective(config, SMALL, torch.device("cpu"))
        torch.manual_seed(0)  # for the windows that are drawn
        return float(objective.cost(outputs, x, bits, quality, 1.0)[0])

    assert loss(0.0) < loss(1.0) < loss(2.0)
    assert loss(2.0) - loss(1.0) == pytest.approx(loss(1.0) - loss(0.0), rel=1e-3)


def test_a_run_that_was_interrupted_draws_other_batches_when_it_goes_on(
    corpus: Path, tmp_path: Path
) -> None:
    config = short_run(corpus, tmp_path)
    beginning = next(iter(Run(config, SMALL).sampler))[0]
    train(config, SMALL)
    resumed = Run(continued(config, 4), SMALL)
    assert resumed.progress.step == 3
    assert not np.array_equal(next(iter(resumed.sampler))[0], beginning)


def test_a_checkpoint_of_another_shape_is_not_resumed(corpus: Path, tmp_path: Path) -> None:
    train(short_run(corpus, tmp_path, steps=1), SMALL)
    with pytest.raises(ModelError, match=r"checkpoint\.pt: it holds a model of another shape"):
        train(short_run(corpus, tmp_path), dataclasses.replace(SMALL, encoder_dim=32))


def test_weights_alone_are_not_resumed(corpus: Path, tmp_path: Path) -> None:
    state = checkpoint.Checkpoint(SMALL, small_vae().state_dict())
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    with pytest.raises(ModelError, match="it holds no optimisers; name it as the --warm-start"):
        Run(short_run(corpus, tmp_path), SMALL)


def test_what_is_exported_is_the_running_mean(corpus: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(short_run(corpus, tmp_path / "run"), average_decay=0.9)
    state = checkpoint.load(train(config, SMALL))
    assert state.average is not None
    before, mean = state.model["head.bias"], state.average["head.bias"]
    assert not torch.equal(before, mean)
    assert torch.equal(state.final_weights["head.bias"], mean)
    resumed = checkpoint.load(train(continued(config, 4), SMALL))
    wanted = torch.lerp(mean, resumed.model["head.bias"], 9 / 13)
    assert torch.allclose(resumed.final_weights["head.bias"], wanted, atol=1e-7)


def test_a_run_begins_with_the_weights_of_an_exported_model(
    corpus: Path, tmp_path: Path, model_folder: Path
) -> None:
    config = dataclasses.replace(short_run(corpus, tmp_path), warm_start=model_folder)
    begun = Run(config, SMALL).learner.model.state_dict()
    for name, value in checkpoint.load_vae(model_folder).state_dict().items():
        assert torch.equal(begun[name], value)
    with pytest.raises(ModelError, match="no readable model"):
        Run(dataclasses.replace(config, warm_start=corpus), SMALL)
    with pytest.raises(ModelError, match="holds a model of another shape"):
        Run(config, dataclasses.replace(SMALL, encoder_dim=32))


def test_the_adversarial_stage_teaches_the_decoder_and_leaves_the_bits_alone(
    corpus: Path, tmp_path: Path, model_folder: Path
) -> None:
    config = dataclasses.replace(
        short_run(corpus, tmp_path), warm_start=model_folder, adversarial=True
    )
    run = Run(config, SMALL)
    model = run.learner.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run.train()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    learns = {name for name in before if not name.startswith(ENCODER_PARTS)}
    # where nothing is as loud as a step, the layer's ceiling has no part in what is heard; and its
    # refinement begins with a last layer of zeros, which lets no gradient through at first
    assert changed | {"waveform.ceiling", "waveform.refinement.second.bias"} == learns
    resumed = Run(continued(config, 4), SMALL)
    assert run.learner.stage is not None
    assert resumed.learner.stage is not None
    taught = resumed.learner.stage.adversary.state_dict()
    for name, value in run.learner.stage.adversary.state_dict().items():
        assert torch.equal(taught[name], value)


def test_a_run_does_not_go_on_with_discriminators_it_had_not_or_without_those_it_had(
    corpus: Path, tmp_path: Path, model_folder: Path
) -> None:
    config = short_run(corpus, tmp_path)
    train(config, SMALL)
    other = dataclasses.replace(config, warm_start=model_folder, adversarial=True)
    with pytest.raises(ModelError, match="a run without discriminators"):
        Run(other, SMALL)
    train(dataclasses.replace(other, out=tmp_path / "other"), SMALL)
    with pytest.raises(ModelError, match="it is of a run with --adversarial"):
        Run(dataclasses.replace(config, out=tmp_path / "other"), SMALL)


def test_discriminators_learn_to_tell_noise_from_speech() -> None:
    torch.manual_seed(0)
    stage = AdversarialStage(torch.device("cpu"))
    speech = torch.from_numpy(voice(1.0))[None].expand(2, -1)
    losses = [
        stage.judge(0.1 * torch.randn(speech.shape), speech)[1]["discriminator"].item()
        for _ in range(30)
    ]
    assert losses[-1] < 0.7 * losses[0]


def test_sound_samples_are_coded_as_the_bitstream_would_code_them(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: dict[str, torch.Tensor] = {}

    def add_audio(writer: object, name: str, pcm: torch.Tensor, step: int, rate: int) -> None:
        played[name] = pcm

    monkeypatch.setattr(SummaryWriter, "add_audio", add_audio)
    vae, sample = small_vae(), corpus / "sub" / "b.flac"
    board = Board(tmp_path, read_mono(sample, 16_000))
    board.play(vae, step=7)
    board.close()
    assert len(played) == len(SAMPLE_QUALITIES)
    pcm = voice(3, 16_000, 1)[: SAMPLE_S * 16_000]
    for quality, heard in zip(SAMPLE_QUALITIES, played.values(), strict=True):
        coded = stream.encode(vae, torch.from_numpy(pcm)[None], quality)
        assert torch.allclose(heard, stream.decode(vae, coded)[0].clamp(-1, 1), atol=2e-3)
