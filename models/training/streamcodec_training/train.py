"""The training loop: D + beta * R over all rates at once (docs/model.md), Muon on the matrices and
AdamW on the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from streamcodec.errors import ConfigError, ModelError
from streamcodec_models import weights
from streamcodec_models.blocks import noise_spectra
from streamcodec_models.config import VaeConfig
from streamcodec_models.entropy import interpolate
from streamcodec_models.vae import VoiceVae

from .adversary import AdversarialStage
from .corpus import (
    AUGMENTATION,
    Augmentation,
    SegmentSampler,
    load_corpus,
    read_mono,
    transform_start,
)
from .losses import Buzz, Distortion, Repetition
from .muon import Muon
from .parameters import adamw, final_weights, freeze_encoder, running_mean, split_parameters
from .steady_noise import steady_noise

WARM_UP_STEPS = 200
DRAWN_WINDOWS = 2
ADVERSARIAL_RATE_SHARE = 0.1
SAMPLE_QUALITIES = (0.1, 0.4, 0.8)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One run. Either `steps` or `minutes` ends it; the learning rate follows the share of it that
    is done.
    """

    data: Path
    out: Path
    noise: Path | None = None
    sample: Path | None = None
    steps: int | None = None
    minutes: float | None = None
    batch: int = 12
    segment_s: float = 1.28
    seed: int = 0
    device: str = "auto"
    matrix_rate: float = 1e-2
    vector_rate: float = 1e-3
    linear_rate: float = 1e-4
    # at quality 0 and 1 of voice-16k: a warm start from it stays on its axis
    beta_low: float = 5.2e-4
    beta_high: float = 2.1e-6
    draws: int = 1
    loudness_weight: float = 0.5
    buzz_weight: float = 0.05
    repetition_weight: float = 0.5
    low_rates: float = 1.4
    # over which bits come to cost what they will; a warm start has that behind it
    rate_ramp_steps: int = 1_000
    decay_from: float = 0.4
    average_decay: float = 0.999  # of the running mean of weights, which is what is exported
    checkpoint_minutes: float = 10.0
    log_steps: int = 25
    warm_start: Path | None = None
    compile: bool = False
    decoder_only: bool = False  # encoder and tables stay as they are: not a bit of a stream changes
    # the last stage: decoder_only, with discriminators beside the distortion
    adversarial: bool = False
    augmentation: Augmentation = AUGMENTATION

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ConfigError("give either a number of steps or of minutes, and not both")
        if self.batch < 1 or self.segment_s < 0.2:
            raise ConfigError(
                f"need a batch >= 1 and segments >= 0.2 s, got {self.batch} and {self.segment_s}"
            )
        if self.adversarial and self.warm_start is None:
            raise ConfigError(
                "need a trained model for the adversarial stage to start from; see warm_start"
            )
        if not 0 < self.beta_high < self.beta_low:
            raise ConfigError(
                f"need 0 < beta_high < beta_low, got {self.beta_high} and {self.beta_low}"
            )


@dataclasses.dataclass
class Clock:
    """How far a run has come, over all of its resumptions."""

    step: int = 0
    elapsed_s: float = 0.0

    def done(self, config: TrainingConfig) -> float:
        if config.steps is not None:
            return self.step / config.steps
        assert config.minutes is not None
        return self.elapsed_s / (60 * config.minutes)

    def left_s(self, config: TrainingConfig) -> float:
        if config.minutes is not None:
            return 60 * config.minutes - self.elapsed_s
        assert config.steps is not None
        return self.elapsed_s / max(1, self.step) * (config.steps - self.step)


def learning_rate_share(done: float, step: int, decay_from: float) -> float:
    """Warm-up, plateau, then a straight line to 1 %: the plateau is where a longer run would branch
    off.
    """
    return min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.01, min(1.0, (1 - done) / (1 - decay_from)))


def has_fast_bfloat16(device: torch.device) -> bool:
    """Without AVX-512, PyTorch emulates bfloat16 products at a fiftieth of the speed of float32
    ones.
    """
    return device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()


class Trainer:
    """Owns the model, its optimisers and the run's folder: checkpoint.pt, TensorBoard events,
    samples.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model_config: VaeConfig,
        build: Callable[[VaeConfig], VoiceVae] = VoiceVae,
    ) -> None:
        self.config = config
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if config.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device cuda: PyTorch finds no GPU here; use cpu or auto")
        kind = (
            ("cuda" if torch.cuda.is_available() else "cpu")
            if config.device == "auto"
            else config.device
        )
        self.device = torch.device(
            f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if kind == "cuda" else kind
        )
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if kind == "cuda" else "gloo")
        torch.manual_seed(config.seed)
        cache = config.out / "cache"
        if self.rank != 0:
            self._barrier()  # rank 0 writes the cache, the others read it
        speech = load_corpus(config.data, model_config.sample_rate, cache, progress=self.rank == 0)
        background = (
            load_corpus(config.noise, model_config.sample_rate, cache, progress=self.rank == 0)
            if config.noise
            else None
        )
        if self.rank == 0:
            self._barrier()
        self.audio_hours = len(speech) / model_config.sample_rate / 3600
        self.sampler = SegmentSampler(
            speech,
            background,
            model_config.sample_rate,
            int(config.segment_s * model_config.sample_rate)
            // model_config.packet
            * model_config.packet,
            model_config.packet,
            config.batch,
            config.augmentation,
            np.random.default_rng([config.seed, self.rank]),
        )
        self.model = build(model_config)
        if config.warm_start is None:
            start = transform_start(
                speech,
                model_config.packet + model_config.overlap,
                np.random.default_rng(config.seed),
            )
            self.model.start_from_klt(torch.from_numpy(start[0]), torch.from_numpy(start[1]))
            noise = steady_noise(model_config.noise_frames * model_config.hop)
            self.model.noise.copy_(noise_spectra(noise, model_config.frame, model_config.hop))
        self.model.to(self.device)
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=has_fast_bfloat16(self.device)
        )
        self.distortion = Distortion(
            model_config.sample_rate, loudness_weight=config.loudness_weight, drawn=DRAWN_WINDOWS
        ).to(self.device)
        self.buzz = Buzz(model_config.sample_rate, model_config.packet).to(self.device)
        self.repetition = Repetition(model_config.sample_rate, model_config.packet).to(self.device)
        self.stage = AdversarialStage(self.device) if config.adversarial else None
        if config.adversarial or config.decoder_only:
            freeze_encoder(self.model)
        matrices, rest, linear = split_parameters(self.model)
        share = ADVERSARIAL_RATE_SHARE if config.adversarial else 1.0
        self.optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            (Muon(matrices, lr=config.matrix_rate), config.matrix_rate * share),
            (adamw(rest, config.vector_rate), config.vector_rate * share),
            (adamw(linear, config.linear_rate), config.linear_rate * share),
        ]
        self.clock = Clock()
        if config.warm_start is not None:
            self._read_weights(config.warm_start)
        self.average = AveragedModel(self.model, multi_avg_fn=running_mean(config.average_decay))
        if self.checkpoint.exists():
            self._resume()
        self.log_betas = torch.log(
            torch.tensor([config.beta_low, config.beta_high], device=self.device)
        )
        self.step_model: nn.Module = self.model
        if config.compile:
            self.step_model.compile()
            self.distortion.term = torch.compile(self.distortion.term, dynamic=False)  # type: ignore[method-assign]
        if self.world > 1:
            self.step_model = DistributedDataParallel(self.step_model, broadcast_buffers=False)
            if self.stage is not None:
                self.stage.distribute()
            # ranks draw rates and noise of their own
            torch.manual_seed(config.seed * 1000 + self.clock.step * 100 + self.rank)

    @property
    def checkpoint(self) -> Path:
        return self.config.out / "checkpoint.pt"

    def run(self) -> None:
        """Train until the budget is spent; writes the last checkpoint whatever ends it."""
        config = self.config
        writer = SummaryWriter(str(config.out / "events")) if self.rank == 0 else None
        bar = tqdm(
            total=100,
            unit="%",
            disable=self.rank != 0,
            bar_format="{l_bar}{bar}| {postfix}",
            mininterval=5,
        )
        batches = iter(self.sampler)
        saved = last = time.monotonic()
        try:
            while (done := self._agreed_share()) < 1:
                x, lost = next(batches)
                metrics = self.train_step(torch.from_numpy(x), torch.from_numpy(lost), done)
                now = time.monotonic()
                self.clock.step += 1
                self.clock.elapsed_s += now - last
                speed, last = len(x) * self.world * config.segment_s / (now - last), now
                if writer is not None and self.clock.step % config.log_steps == 0:
                    values = {k: v.item() for k, v in metrics.items()}
                    values["audio seconds per second"] = speed
                    for name, value in values.items():
                        writer.add_scalar(name, value, self.clock.step)
                    bar.update(done * 100 - bar.n)
                    left = self.clock.left_s(config)
                    bar.set_postfix_str(
                        f"step {self.clock.step}, {left // 60:.0f} min left, L {values['lagrangian']:.3f}, "
                        f"D {values['distortion']:.3f}, {values['kbit/s']:.2f} kbit/s, {speed:.0f} s/s"
                    )
                if self.rank == 0 and now - saved > 60 * config.checkpoint_minutes:
                    self.save()
                    self._write_samples(writer)
                    saved = now
        finally:
            if self.rank == 0:
                self.save()
                self._write_samples(writer)
            bar.close()
            if writer is not None:
                writer.close()

    def train_step(self, x: Tensor, lost: Tensor, done: float) -> dict[str, Tensor]:
        """x [B, T], lost [B, P] -> metrics of this step, each a scalar tensor (left on the device:
        reading one waits for it).
        """
        share = learning_rate_share(done, self.clock.step, self.config.decay_from)
        for optimizer, base in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = base * share
        x, lost = x.to(self.device), lost.to(self.device)
        quality = self.draw_quality(len(x), done)
        # Noise on latents that are zero nearly always drowns low rates: while the rate decays, the
        # decoder hears what it will hear in use.
        soft = self.config.warm_start is None and done < self.config.decay_from
        hard_share = torch.tensor(0.5 if soft else 1.0, device=self.device)
        with self.autocast:
            outputs, bits = self.step_model(x, quality, lost, hard_share, self.config.draws)
        overlap = self.model.config.overlap
        distortion = self.distortion(outputs.float()[:, :, overlap:], x[:, :-overlap])
        rate = bits.mean(1) * self.model.config.sample_rate / self.model.config.packet  # bit/s
        beta = torch.exp(interpolate(self.log_betas, quality[:, None])[:, 0])
        ramp = (
            1.0
            if self.config.warm_start
            else min(1.0, 0.1 + self.clock.step / self.config.rate_ramp_steps)
        )
        lagrangian = (distortion + ramp * beta * rate).mean()
        heard, meant = outputs[0].float()[:, overlap:], x[:, :-overlap]
        # Low qualities buzz more than high ones: judged together, the one half's excess would make
        # up for the other's lack.
        halves = quality.argsort().chunk(2)
        buzz = torch.stack([self.buzz(heard[half], meant[half]) for half in halves]).mean()
        repetition = self.repetition(heard, meant)
        loss = (
            lagrangian + self.config.buzz_weight * buzz + self.config.repetition_weight * repetition
        )
        judged: dict[str, Tensor] = {}
        if self.stage is not None:
            cost, judged = self.stage.judge(heard, meant)
            loss = loss + cost
        for optimizer, _ in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, _ in self.optimizers:
            optimizer.step()
        self.average.update_parameters(self.model)
        return {
            "lagrangian": lagrangian.detach(),
            "distortion": distortion.detach().mean(),
            "buzz": buzz.detach(),
            "repetition": repetition.detach(),
            "kbit/s": rate.detach().mean() / 1e3,
            "gradient norm": norm,
            "learning rate share": torch.tensor(share),
            **judged,
        }

    def draw_quality(self, batch: int, done: float) -> Tensor:
        """-> [batch] in 0..1, more of them low: there the network has the most to make up for."""
        return torch.rand(batch, device=self.device) ** self.config.low_rates

    def save(self) -> None:
        """Write the checkpoint so that a cut in the middle leaves the one before whole."""
        self.config.out.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        state: dict[str, Any] = {
            "model_config": dataclasses.asdict(self.model.config),
            "model": self.model.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "clock": dataclasses.asdict(self.clock),
        }
        if self.stage is not None:
            state["adversary"] = self.stage.adversary.state_dict()
            state["adversary_optimizer"] = self.stage.optimizer.state_dict()
        with _uninterrupted():  # torchrun passes a Ctrl-C on to processes that have had it already
            torch.save(state, partial)
            partial.replace(self.checkpoint)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            state["model_config"], state["model"]
        except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise ModelError(
                f"{path} is no checkpoint of a training: {str(error).splitlines()[0]}"
            ) from error
        if VaeConfig.from_dict(state["model_config"]) != self.model.config:
            raise ModelError(
                f"{path} holds a model of another shape; train it with its own configuration or choose another --out"
            )
        return state

    def _read_weights(self, path: Path) -> None:
        """From a checkpoint, or from a folder with an exported model. Raises ModelError."""
        if path.is_file():
            self.model.load_state_dict(final_weights(self._read(path)))
            return
        vae = weights.load(path).vae
        if vae.config != self.model.config:
            raise ModelError(
                f"{path} holds a model of another shape; train it with its own configuration"
            )
        self.model.load_state_dict(vae.state_dict())

    def _resume(self) -> None:
        state = self._read(self.checkpoint)
        self.model.load_state_dict(state["model"])
        self.average.module.load_state_dict(final_weights(state))
        for (optimizer, _), saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if self.stage is not None:
            if "adversary" not in state:
                raise ModelError(
                    f"{self.checkpoint} is of a run without discriminators; name it as the warm start of another --out"
                )
            self.stage.adversary.load_state_dict(state["adversary"])
            self.stage.optimizer.load_state_dict(state["adversary_optimizer"])
        self.clock = Clock(**state["clock"])
        self.average.n_averaged.fill_(self.clock.step)
        # A resumed run must not replay the batches it has seen: the stream of segments goes on from
        # a seed of its own.
        torch.manual_seed(self.config.seed * 1000 + self.clock.step * 100)
        self.sampler.rng = np.random.default_rng([self.config.seed, self.rank, self.clock.step])
        if self.rank == 0:
            tqdm.write(
                f"resuming {self.checkpoint} at step {self.clock.step}, {self.clock.elapsed_s / 60:.0f} min in"
            )

    def _agreed_share(self) -> float:
        """Share of the budget that is spent, the same on every rank: clocks differ, and a rank that
        stopped alone would hang the rest.
        """
        done = torch.tensor(self.clock.done(self.config), dtype=torch.float64, device=self.device)
        if self.world > 1:
            dist.broadcast(done, 0)
        return float(done)

    def _barrier(self) -> None:
        if self.world > 1:
            dist.barrier()

    @torch.no_grad()
    def _write_samples(self, writer: SummaryWriter | None) -> None:
        if writer is None or self.config.sample is None:
            return
        c, model = self.model.config, self.average.module
        assert isinstance(model, VoiceVae)
        x = read_mono(self.config.sample, c.sample_rate)[: 6 * c.sample_rate]
        x = x[: len(x) // c.packet * c.packet]
        wave = torch.from_numpy(x).to(self.device)[None]
        for quality in SAMPLE_QUALITIES:
            q = torch.full((1, len(x) // c.packet), quality, device=self.device)
            mean, gain, _ = model.encode(wave, q, model.initial_encoder_state(1))
            lost = torch.zeros_like(q, dtype=torch.bool)
            out, _ = model.decode(torch.round(mean), gain, q, lost, model.initial_decoder_state(1))
            writer.add_audio(
                f"quality {quality}", out[0].clamp(-1, 1).cpu(), self.clock.step, c.sample_rate
            )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and termination wait until the block is done. Masking them would not do: another
    thread would take them.
    """
    waiting: list[int] = []
    before = {
        number: signal.signal(number, lambda n, _: waiting.append(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in waiting:
            signal.raise_signal(caught)


def train(config: TrainingConfig, model_config: VaeConfig) -> Path:
    """Run to the end of the budget, or go on from the checkpoint in `config.out`. Returns the
    checkpoint's path.
    """
    trainer = Trainer(config, model_config)
    # Ctrl-C ends a run early; the checkpoint is written on the way out
    with contextlib.suppress(KeyboardInterrupt):
        trainer.run()
    if trainer.world > 1:
        dist.destroy_process_group()
    return trainer.checkpoint
