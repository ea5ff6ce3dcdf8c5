import dataclasses
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from conftest import SMALL, small_vae, voice
from streamcodec import CodecModel, StreamDecoder, StreamEncoder, load_model
from streamcodec.coding.bitstream import Bitstream
from streamcodec.engines.api import Means
from streamcodec.engines.torch import TorchEngine
from streamcodec.errors import AudioError, ConfigError, ModelError
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae
from streamcodec_training import fit_swell
from streamcodec_training.adversary import AdversarialStage
from streamcodec_training.cli import train as train_command
from streamcodec_training.corpus import (
    AUGMENTATION,
    NO_AUGMENTATION,
    SegmentSampler,
    load_corpus,
    transform_start,
)
from streamcodec_training.losses import Buzz, Distortion, LoudnessDisturbance, Repetition, real_fft
from streamcodec_training.tables import fit_tables
from streamcodec_training.train import TrainingConfig, learning_rate_share, train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "sub").mkdir()
    soundfile.write(folder / "a.wav", voice(4, 24_000), 24_000)
    soundfile.write(folder / "sub" / "b.flac", np.stack([voice(3, 16_000, 1)] * 2, 1), 16_000)
    return folder


def sampler(
    corpus: Path, tmp_path: Path, seed: int = 0, augmentation: object = AUGMENTATION
) -> SegmentSampler:
    speech = load_corpus(corpus, 16_000, tmp_path, progress=False)
    return SegmentSampler(
        speech, speech, 16_000, 6_400, 320, 5, augmentation, np.random.default_rng(seed)
    )  # type: ignore[arg-type]


def test_any_folder_becomes_one_array(corpus: Path, tmp_path: Path) -> None:
    pcm = load_corpus(corpus, 16_000, tmp_path, progress=False)
    assert pcm.dtype == np.int16
    assert len(pcm) == pytest.approx(7 * 16_000, abs=4)


def test_an_unreadable_file_is_named_and_left_out(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "with-junk"
    folder.mkdir()
    soundfile.write(folder / "good.wav", voice(1), 16_000)
    (folder / "bad.wav").write_text("no audio")
    assert len(load_corpus(folder, 16_000, tmp_path / "cache", progress=False)) == 16_000
    assert "bad.wav" in capsys.readouterr().out


def test_ctrl_c_while_saving_waits_for_the_checkpoint(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamcodec_training.train import Trainer

    trainer = Trainer(
        TrainingConfig(data=corpus, out=tmp_path, steps=1, batch=2, segment_s=0.4, device="cpu"),
        SMALL,
    )
    write = torch.save

    def interrupted(state: object, path: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write(state, path)

    monkeypatch.setattr(torch, "save", interrupted)
    # a suite in the background inherits that it is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.save()
    finally:
        signal.signal(signal.SIGINT, before)
    assert torch.load(trainer.checkpoint, weights_only=True)["clock"]["step"] == 0


def test_a_folder_without_audio_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"no audio below .*\.flac"):
        load_corpus(tmp_path, 16_000, tmp_path / "cache")


def test_batches_are_seeded_bounded_and_of_the_right_shape(corpus: Path, tmp_path: Path) -> None:
    first = next(iter(sampler(corpus, tmp_path, 7)))
    again = next(iter(sampler(corpus, tmp_path, 7)))
    other = next(iter(sampler(corpus, tmp_path, 8)))
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    batches = iter(sampler(corpus, tmp_path, 1))
    lost = 0
    for _ in range(40):
        x, mask = next(batches)
        assert x.shape == (5, 6_400)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        assert np.abs(x).max() <= 1
        assert mask.shape == (5, 20)
        lost += mask.sum()
    assert 0 < lost < 0.1 * 40 * 100


def test_without_augmentation_segments_are_the_recording(corpus: Path, tmp_path: Path) -> None:
    plain = sampler(corpus, tmp_path, 3, NO_AUGMENTATION)
    x, mask = next(iter(plain))
    assert not mask.any()
    whole = plain.speech.astype(np.float32) / 32_768
    windows = np.lib.stride_tricks.sliding_window_view(whole, 64)
    assert any(np.abs(windows - x[0, :64]).max(1) < 1e-6)


def test_too_little_audio_says_how_much_is_needed() -> None:
    with pytest.raises(AudioError, match=r"more than 0\.40 s of audio, got 0\.06 s"):
        SegmentSampler(
            np.zeros(1000, np.int16),
            None,
            16_000,
            6_400,
            320,
            1,
            AUGMENTATION,
            np.random.default_rng(0),
        )


def test_the_transform_start_is_orthonormal_and_sorted(corpus: Path, tmp_path: Path) -> None:
    basis, variance = transform_start(
        load_corpus(corpus, 16_000, tmp_path, progress=False), 64, np.random.default_rng(0), 2000
    )
    assert np.allclose(basis @ basis.T, np.eye(64), atol=1e-4)
    assert (np.diff(variance) <= 0).all()


def test_fft_gradient_is_that_of_pytorch() -> None:
    x = torch.randn(3, 64, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(real_fft, x)


def test_loudness_disturbance_hears_what_a_listener_would() -> None:
    """Nothing for the reference or what lies below the threshold in quiet, more for more noise, and
    the same at any level.
    """
    torch.manual_seed(0)
    loudness, window = (
        LoudnessDisturbance(16_000, 512),
        torch.hann_window(512) / math.sqrt(512 * 0.375),
    )
    speech = torch.randn(2, 16_000) * torch.linspace(0.01, 0.1, 16_000)
    noise = torch.randn(speech.shape)

    def power(x: torch.Tensor) -> torch.Tensor:
        return real_fft(x.unfold(-1, 512, 128) * window).square().sum(-1)

    def disturbance(level: float, gain: float = 1.0) -> float:
        wanted = power(gain * speech)
        return float(loudness(power(gain * (speech + level * noise))[None], wanted).mean())

    assert disturbance(0.0) == disturbance(1e-6) == pytest.approx(0, abs=1e-6)
    assert disturbance(0.0) < disturbance(0.01) < disturbance(0.03) < disturbance(0.1)
    assert disturbance(0.03, gain=0.1) == pytest.approx(disturbance(0.03), rel=1e-3)


def test_one_bad_frame_costs_more_than_its_share() -> None:
    """PESQ remembers the worst of each third of a second."""
    torch.manual_seed(0)
    loudness = LoudnessDisturbance(16_000, 512)
    wanted = torch.rand(1, 160, 257) * 1e-3

    def cost(factors: torch.Tensor) -> float:
        return float(loudness((wanted * factors[None, :, None])[None], wanted))

    once, throughout = torch.ones(160), torch.full((160,), 30.0)
    once[80] = 30.0
    assert cost(torch.ones(160)) == pytest.approx(0, abs=1e-6)
    assert 5 * cost(throughout) / 160 < cost(once) < cost(throughout)


def test_distortion_is_zero_for_the_reference_and_grows_with_the_damage() -> None:
    reference = torch.from_numpy(voice(1.0))[None]
    distortion = Distortion(16_000)
    damage = [
        distortion((reference + level * torch.randn(reference.shape))[None], reference).item()
        for level in (0.0, 0.01, 0.1)
    ]
    assert damage[0] == 0.0
    assert damage == sorted(damage)
    assert damage[1] > 0.01


def test_two_draws_make_right_noise_cheaper_than_silence_or_a_tone() -> None:
    """The energy distance: noise of the right level beats what a single draw's L1 would prefer, and
    a wrong level is seen.
    """
    torch.manual_seed(0)
    reference = 0.1 * torch.randn(4, 16_000)
    distortion = Distortion(16_000)

    def cost(level: float) -> float:
        return distortion(level * torch.randn(2, 4, 16_000), reference).mean().item()

    tone = (0.14 * torch.sin(torch.arange(16_000) * 0.3)).expand(2, 4, -1)
    assert cost(0.1) < cost(0.05) < cost(0.01)
    assert cost(0.1) < cost(0.2)
    assert cost(0.1) < distortion(tone, reference).mean().item()


def test_learning_rate_warms_up_stays_and_ends_low() -> None:
    assert learning_rate_share(0.0, 0, 0.4) < 0.01
    assert learning_rate_share(0.3, 1000, 0.4) == 1.0
    assert learning_rate_share(0.7, 5000, 0.4) == pytest.approx(0.5)
    assert learning_rate_share(1.0, 9000, 0.4) == 0.01


def test_a_run_learns_is_resumed_and_becomes_a_model_that_codes(
    corpus: Path, tmp_path: Path
) -> None:
    shape = tmp_path / "shape.json"
    shape.write_text(SMALL.to_json())
    out, model = tmp_path / "run", tmp_path / "model"
    arguments = [
        "--data",
        str(corpus),
        "--out",
        str(out),
        "--config",
        str(shape),
        "--batch",
        "2",
        "--device",
        "cpu",
        "--no-augment",
    ]
    first = CliRunner().invoke(train_command, [*arguments, "--steps", "3"], catch_exceptions=False)
    assert first.exit_code == 0
    assert torch.load(out / "checkpoint.pt", weights_only=True)["clock"]["step"] == 3
    second = CliRunner().invoke(
        train_command, [*arguments, "--steps", "5", "--export", str(model)], catch_exceptions=False
    )
    assert second.exit_code == 0
    assert torch.load(out / "checkpoint.pt", weights_only=True)["clock"]["step"] == 5
    assert list((out / "events").iterdir())
    loaded = load_model(model, "cpu")
    encoder = StreamEncoder(loaded, quality=0.5)
    payloads = encoder.encode(voice(1.0))
    assert np.isfinite(StreamDecoder(loaded, encoder.config).decode(payloads[0])).all()


def test_of_several_processes_one_exports(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = tmp_path / "shape.json"
    shape.write_text(SMALL.to_json())
    monkeypatch.setenv("RANK", "1")
    arguments = [
        "--data",
        corpus,
        "--out",
        tmp_path / "run",
        "--config",
        shape,
        "--steps",
        "1",
        "--batch",
        "2",
        "--device",
        "cpu",
    ]
    ended = CliRunner().invoke(
        train_command,
        [*map(str, arguments), "--export", str(tmp_path / "model")],
        catch_exceptions=False,
    )
    assert (ended.exit_code, ended.output) == (0, "")
    assert not (tmp_path / "model").exists()


def test_the_loss_falls(corpus: Path, tmp_path: Path) -> None:
    """Two runs of one seed: 60 steps on the same audio end lower than 2 do."""
    from streamcodec_training.train import Trainer

    trainer = Trainer(
        TrainingConfig(
            corpus, tmp_path, steps=60, batch=4, device="cpu", augmentation=NO_AUGMENTATION
        ),
        SMALL,
    )
    batches = iter(trainer.sampler)
    losses = []
    for step in range(60):
        x, lost = next(batches)
        trainer.clock.step = 1000 + step  # past the warm-up and the rate ramp
        losses.append(
            trainer.train_step(torch.from_numpy(x), torch.from_numpy(lost), 0.0)[
                "lagrangian"
            ].item()
        )
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize(
    "budget",
    [{}, {"steps": 3, "minutes": 1.0}, {"steps": 3, "batch": 0}, {"steps": 3, "beta_low": 1e-9}],
)
def test_impossible_runs_are_refused(budget: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either|need"):
        TrainingConfig(tmp_path, tmp_path, **budget)  # type: ignore[arg-type]


def test_a_run_begins_with_the_weights_of_an_exported_model(
    corpus: Path, tmp_path: Path, model_folder: Path
) -> None:
    from streamcodec_training.train import Trainer

    config = TrainingConfig(
        corpus, tmp_path, steps=1, batch=1, device="cpu", warm_start=model_folder
    )
    trainer = Trainer(config, SMALL)
    for name, value in load_model(model_folder, "cpu").engine.vae.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], value)
    with pytest.raises(ModelError, match="no readable model"):
        Trainer(dataclasses.replace(config, warm_start=corpus), SMALL)


def test_the_adversarial_stage_teaches_the_decoder_and_leaves_the_bits_alone(
    corpus: Path, tmp_path: Path, model_folder: Path
) -> None:
    from streamcodec_training.parameters import ENCODER_PARTS
    from streamcodec_training.train import Trainer

    settings = {
        "batch": 2,
        "segment_s": 0.4,
        "device": "cpu",
        "warm_start": model_folder,
        "adversarial": True,
    }
    trainer = Trainer(TrainingConfig(corpus, tmp_path, steps=3, **settings), SMALL)  # type: ignore[arg-type]
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.run()
    changed = {
        name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])
    }
    assert changed == {name for name in before if not name.startswith(ENCODER_PARTS)}
    resumed = Trainer(TrainingConfig(corpus, tmp_path, steps=4, **settings), SMALL)  # type: ignore[arg-type]
    assert trainer.stage is not None
    assert resumed.stage is not None
    for name, value in trainer.stage.adversary.state_dict().items():
        assert torch.equal(resumed.stage.adversary.state_dict()[name], value)


def test_discriminators_learn_to_tell_noise_from_speech() -> None:
    torch.manual_seed(0)
    stage = AdversarialStage(torch.device("cpu"))
    speech = torch.from_numpy(voice(1.0))[None].expand(2, -1)
    losses = [
        stage.judge(0.1 * torch.randn(speech.shape), speech)[1]["discriminator"].item()
        for _ in range(30)
    ]
    assert losses[-1] < 0.7 * losses[0]


def test_the_adversarial_stage_needs_something_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="need a trained model"):
        TrainingConfig(tmp_path, tmp_path, steps=1, adversarial=True)


def test_every_ablation_can_be_handed_to_a_process_and_made() -> None:
    import pickle

    from streamcodec_training.ablations import VARIANTS

    assert len({v.name for v in VARIANTS}) == len(VARIANTS)
    for variant in pickle.loads(pickle.dumps(VARIANTS)):
        shape = dataclasses.replace(VaeConfig(), **variant.model)
        TrainingConfig(data=Path(), out=Path(), steps=1, **variant.training)
        assert shape.latent_dim <= shape.packet + shape.overlap


def test_what_is_exported_is_the_running_mean(corpus: Path, tmp_path: Path) -> None:
    config = TrainingConfig(
        data=corpus,
        out=tmp_path / "run",
        steps=3,
        batch=2,
        segment_s=0.4,
        device="cpu",
        average_decay=0.9,
    )
    path = train(config, SMALL)
    state = torch.load(path, weights_only=True)
    before, mean = state["model"]["head.bias"], state["average"]["head.bias"]
    assert not torch.equal(before, mean)
    resumed = torch.load(train(dataclasses.replace(config, steps=4), SMALL), weights_only=True)
    assert torch.allclose(
        resumed["average"]["head.bias"],
        torch.lerp(mean, resumed["model"]["head.bias"], 9 / 13),
        atol=1e-7,
    )


def test_revived_noise_takes_the_place_of_what_was_above_its_edge() -> None:
    from streamcodec_training.revive_noise import revive

    before = small_vae()
    after = small_vae()
    after.load_state_dict(
        revive({"model_config": dataclasses.asdict(SMALL), "model": before.state_dict()})["model"]
    )
    hidden = torch.randn(1, 400, SMALL.decoder_dim)
    start = torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        before.head.bias[2 * SMALL.bins :] = -30.0  # a branch that had died
        power = [
            torch.fft.rfft(vae.synthesis_frames(hidden, start).sum(0)).abs().square().mean((0, 1))
            for vae in (before, after)
        ]
    above = torch.arange(SMALL.bins) * SMALL.sample_rate / SMALL.frame >= 2_000
    assert power[1][above].sum() / power[0][above].sum() == pytest.approx(1.0, abs=0.1)


def test_noise_is_fitted_to_the_level_of_what_was_said() -> None:
    from streamcodec_training.fit_noise import fitted

    vae = small_vae()
    rng = np.random.default_rng(0)
    hiss = [(0.05 * rng.standard_normal(32_000)).astype(np.float32) for _ in range(6)]
    with torch.no_grad():
        vae.head.bias[: SMALL.bins] -= 30  # nothing but noise is heard of the network
        vae.skip_out.weight.zero_()
    vae.load_state_dict(fitted(vae, hiss, 1.0, rng))
    pcm = torch.from_numpy(hiss[0][None])
    quality, lost = torch.full((1, 100), 0.5), torch.zeros(1, 100, dtype=torch.bool)
    with torch.no_grad():
        vae.comb.control.weight.zero_()
        vae.comb.control.bias[:3] = torch.tensor([-30.0, 0.0, 0.0])
        mean, gain, _ = vae.encode(pcm, quality, vae.initial_encoder_state(1))
        out, _ = vae.decode(torch.round(mean), gain, quality, lost, vae.initial_decoder_state(1))
    power = [
        torch.fft.rfft(x[0, 1_000:31_000]).abs().square()[5_000:14_000].mean() for x in (out, pcm)
    ]
    assert 10 * torch.log10(power[0] / power[1]) == pytest.approx(0, abs=1.0)


def test_weights_half_way_between_two_runs(tmp_path: Path) -> None:
    from streamcodec_training.average import average

    paths = [tmp_path / name for name in ("a.pt", "b.pt", "mixed.pt")]
    for path, value in zip(paths, (1.0, 3.0), strict=False):
        torch.save({"model_config": {"classes": 1}, "model": {"w": torch.full((2,), value)}}, path)
    average(paths[0], paths[1], 0.25, paths[2])
    assert torch.load(paths[2], weights_only=True)["model"]["w"].tolist() == [1.5, 1.5]
    torch.save({"model_config": {"classes": 2}, "model": {}}, paths[1])
    with pytest.raises(ModelError, match="different shapes"):
        average(paths[0], paths[1], 0.5, paths[2])


def test_a_checkpoint_of_another_shape_is_not_resumed(corpus: Path, tmp_path: Path) -> None:
    config = TrainingConfig(corpus, tmp_path, steps=1, batch=1, device="cpu")
    train(config, SMALL)
    with pytest.raises(ModelError, match="another shape"):
        train(config, dataclasses.replace(SMALL, encoder_dim=32))


def test_buzz_hears_what_swings_with_every_packet_above_all() -> None:
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.standard_normal((8, 19_200)).astype(np.float32) * 0.1)
    other = torch.from_numpy(rng.standard_normal((8, 19_200)).astype(np.float32) * 0.1)
    time_s = torch.arange(19_200) / 16_000
    buzz = Buzz(16_000, 320)
    assert buzz(noise, noise) == 0
    natural = buzz(other, noise).item()
    # What swings at another rate counts only as far as it makes the rest of the swings look
    # smaller.
    at_rates, beside = (
        [buzz(other * (1 + 0.4 * torch.cos(2 * math.pi * r * time_s)), noise).item() for r in rates]
        for rates in ((50, 100), (70,))
    )
    assert min(at_rates) > 2 * max(beside) > 2 * natural
    # too little is wrong as well
    assert buzz(noise, other * (1 + 0.4 * torch.cos(2 * math.pi * 50 * time_s))) > 2 * natural
    swinging = (other * (1 + 0.4 * torch.cos(2 * math.pi * 50 * time_s))).requires_grad_()
    buzz(swinging, noise).backward()
    assert swinging.grad is not None
    assert 0 < swinging.grad.norm() < 1e3
    assert buzz(torch.zeros(2, 6_400), torch.zeros(2, 6_400)).isfinite()


def test_fitted_tables_code_what_is_sent_in_fewer_bits(corpus: Path, tmp_path: Path) -> None:
    vae = small_vae().eval()
    segments = (batch[0] for batch, _ in sampler(corpus, tmp_path, augmentation=NO_AUGMENTATION))
    engine = TorchEngine(vae)
    fitted, before = Bitstream(fit_tables(vae, segments, 12)), Bitstream(vae.prior.tables())
    spent = {"fitted": 0, "before": 0}
    for pcm, level in zip([next(segments) for _ in range(4)], (2, 6, 10, 14), strict=True):
        means, _ = engine.encode(pcm[None], level, engine.initial_encoder_state(1))
        for gain, mean in zip(means.gain_index, means.mean, strict=True):
            one = Means(level, gain[None], mean[None])
            latents = before.quantise(one)
            spent["before"] += len(before.serialize(latents, level))
            spent["fitted"] += len(fitted.serialize(latents, level))
            assert np.array_equal(
                fitted.parse(fitted.serialize(latents, level), 1, 1, level).y, latents.y
            )
    assert spent["fitted"] < 0.97 * spent["before"]


def test_repetition_hears_noise_that_is_one_wave_over_and_over() -> None:
    torch.manual_seed(0)
    repetition, noise, other = Repetition(16_000, 320), *torch.randn(2, 4, 16_000) * 0.1
    again = noise[:, :320].repeat(1, 50).requires_grad_()
    assert repetition(noise, noise) == 0
    natural = repetition(other, noise).item()
    assert repetition(again, noise) > 5 * natural
    half = (0.5 * again + 0.5 * other).detach()
    assert natural < repetition(half, noise) < repetition(again, noise)
    repetition(again, noise).backward()
    assert again.grad is not None
    assert again.grad.isfinite().all()
    voice_of_100_hz = (
        torch.sin(2 * math.pi * 100 * torch.arange(16_000) / 16_000 * torch.arange(20, 70)[:, None])
        .sum(0)
        .expand(4, -1)
    )
    # what repeats in the original may
    assert repetition(voice_of_100_hz, voice_of_100_hz * 0.5) < 1e-3
    assert repetition(torch.zeros(2, 6_400), torch.zeros(2, 6_400)) == 0


def test_steady_noise_does_not_flicker_and_does_not_repeat() -> None:
    from streamcodec_training.steady_noise import (
        WINDOWS_AND_WIDTHS_HZ,
        log_band_power,
        steady_noise,
    )

    noise = steady_noise(251 * 160)
    white = torch.randn(len(noise), generator=torch.Generator().manual_seed(1))
    for bands in WINDOWS_AND_WIDTHS_HZ:
        assert log_band_power(noise, *bands).std() < 0.2 * log_band_power(white, *bands).std()
    assert noise.square().mean() == pytest.approx(1.0, abs=1e-3)
    alike = torch.fft.irfft(torch.fft.rfft(noise).abs().square())[1:-1] / len(noise)
    assert alike[:8_000].abs().max() < 0.05


def test_the_noise_swells_as_deep_as_each_quality_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = small_vae()
    pcm = [voice(4.0, seed=seed) for seed in range(3)]

    def buzz_db(
        vae: VoiceVae, pcm: torch.Tensor, stream: tuple[torch.Tensor, ...], shift: float
    ) -> float:
        return 2.0 * (shift - 4 * (float(stream[2].mean()) - 0.5)) + fit_swell.WANTED_DB

    monkeypatch.setattr(fit_swell, "buzz_db", buzz_db)
    depth = vae.noise_envelope.depth
    before = depth.weight.clone(), depth.bias.clone()
    wanted = [min(fit_swell.MOST, max(fit_swell.LEAST, 4 * (q - 0.5))) for q in fit_swell.QUALITIES]
    assert fit_swell.fit(vae, pcm) == pytest.approx(wanted, abs=0.05)
    batch = torch.from_numpy(np.stack(pcm))
    moved = []
    for quality in fit_swell.QUALITIES:
        y, gain_index, q = fit_swell.coded(vae, batch, quality)
        lost = torch.zeros_like(q, dtype=torch.bool)
        hidden, _ = vae.hidden(y, gain_index, q, lost, vae.initial_decoder_state(len(batch)))
        moved.append((depth(hidden) - torch.nn.functional.linear(hidden, *before)).mean().item())
    assert moved == sorted(moved)  # an untrained network hardly says which quality it was
    assert moved[-1] > moved[0] + 0.2


def test_a_deeper_swell_buzzes_more(shipped: CodecModel, speech: NDArray[np.float32]) -> None:
    batch = torch.from_numpy(speech[:96_000].reshape(2, -1))
    stream = fit_swell.coded(shipped.engine.vae, batch, 0.4)
    depths = [
        fit_swell.buzz_db(shipped.engine.vae, batch, stream, shift) for shift in (-3.0, 0.0, 2.0)
    ]
    assert depths == sorted(depths)
    assert depths[-1] > depths[0] + 2


def test_swings_are_those_of_the_envelope_at_packet_and_frame_rate() -> None:
    torch.manual_seed(0)
    time_s = torch.arange(64_000) / 16_000
    noise = torch.randn(2, 64_000)
    plain = fit_swell.swings_db(noise, VaeConfig())
    for column, rate in enumerate((50, 100)):
        more = (
            fit_swell.swings_db(
                noise * (1 + 0.5 * torch.cos(2 * math.pi * rate * time_s)), VaeConfig()
            )
            - plain
        )
        assert more[:, column].min() > 10
        assert more[:, 1 - column].max() < 6
