"""A run from its first batch, or from where it was interrupted, to the end of its budget: batches,
steps, checkpoints and what is shown on the way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamcodec.ending import signals_unwind
from streamcodec.errors import AudioError, ModelError, OutputError
from streamcodec.units import Pcm
from streamcodec_models.blocks import noise_spectra
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae

from . import checkpoint
from .board import Board, say
from .config import TrainingConfig
from .corpus import load_corpus, read_mono, transform_start
from .learner import Diverged, Learner, Moment
from .processes import Processes
from .sampler import AUGMENTATION, NO_AUGMENTATION, SegmentSampler
from .steady_noise import steady_noise


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come, over all its resumptions."""

    step: int = 0
    elapsed_s: float = 0.0

    def done(self, config: TrainingConfig) -> float:
        """Share of the budget that is spent."""
        if config.steps is not None:
            return self.step / config.steps
        assert config.minutes is not None
        return self.elapsed_s / (60 * config.minutes)

    def left_s(self, config: TrainingConfig) -> float:
        if config.minutes is not None:
            return 60 * config.minutes - self.elapsed_s
        assert config.steps is not None
        return self.elapsed_s / max(1, self.step) * (config.steps - self.step)

    def after_step(self, seconds: float) -> Progress:
        return Progress(self.step + 1, self.elapsed_s + seconds)


class Run:
    """A learner, its batches and its progress, kept in the folder `config.out`."""

    def __init__(self, config: TrainingConfig, shape: VaeConfig) -> None:
        """Reads the corpus, and resumes where the folder holds a checkpoint. Raises AudioError,
        OutputError, ConfigError and ModelError.
        """
        self.config = config
        self.processes = Processes.join(config.device)
        torch.manual_seed(config.seed)
        speech, noise = _read_corpora(config, shape, self.processes)
        self.sample = _read_sample(config, shape) if self.processes.first else None
        self.sampler = _sampler(config, shape, speech, noise, self.processes.rank)
        self.learner = Learner(config, _first_model(config, shape, speech), self.processes.device)
        self.progress = self.saved = Progress()
        if self.checkpoint.exists():
            self._resume()
        self.learner.prepare(self.processes)
        if self.processes.world > 1:  # every rank draws qualities and noise of its own
            torch.manual_seed(config.seed * 1000 + self.progress.step * 100 + self.processes.rank)

    @property
    def checkpoint(self) -> Path:
        return self.config.out / "checkpoint.pt"

    def train(self) -> None:
        """Goes on until the budget is spent; writes the last checkpoint whatever ends it, but for
        Diverged, which is raised where weights or gradients are not finite: then the checkpoint
        before stays. Raises OutputError where the last checkpoint cannot be written.
        """
        if not self.processes.first:
            self._learn(None)
            return
        with contextlib.closing(
            Board(self.config.out, self.sample, self.progress.done(self.config))
        ) as board:
            try:
                self._learn(board)
            except Diverged as error:
                raise Diverged(f"{error}; {self._what_stays()}") from error
            except BaseException:
                self._keep(board)
                raise
            self._keep(board)

    def save(self) -> None:
        """Writes the checkpoint. Raises OutputError, and Diverged where it would not be finite."""
        state = dataclasses.replace(
            self.learner.checkpoint(), clock=dataclasses.asdict(self.progress)
        )
        try:
            checkpoint.save(self.checkpoint, state)
        except ModelError as error:
            raise Diverged(f"step {self.progress.step}: {error}") from error
        self.saved = self.progress

    def _learn(self, board: Board | None) -> None:
        batches = iter(self.sampler)
        first = self.progress.step + 1
        kept = last = time.monotonic()
        while (done := self.processes.agree(self.progress.done(self.config))) < 1:
            x, lost = (torch.from_numpy(part) for part in next(batches))
            figures = self.learner.step(x, lost, Moment(self.progress.step, done))
            now = time.monotonic()
            seconds, last = now - last, now
            self.progress = self.progress.after_step(seconds)
            if board is None:
                continue
            step, done = self.progress.step, self.progress.done(self.config)
            if step == first or step % self.config.log_steps == 0 or done >= 1:
                speed = len(x) * self.processes.world * self.config.segment_s / seconds
                board.show(step, figures, speed, done, self.progress.left_s(self.config))
            board.move(done)
            if now - kept > 60 * self.config.checkpoint_minutes:
                kept = now
                try:
                    self._keep(board)
                except OutputError as error:
                    minutes = self.config.checkpoint_minutes
                    say(f"warning: {error}; training goes on, the next try is in {minutes:g} min")

    def _keep(self, board: Board) -> None:
        """Where nothing was learned since the last checkpoint, that one stays."""
        if self.progress != self.saved or not self.checkpoint.exists():
            self.save()
            board.play(self.learner.mean_model, self.progress.step)

    def _what_stays(self) -> str:
        if not self.checkpoint.exists():
            return "no checkpoint was written"
        return (
            f"{self.checkpoint} stays as it was at step {self.saved.step}; learn at smaller rates"
        )

    def _resume(self) -> None:
        saved = checkpoint.load(self.checkpoint, self.processes.device)
        try:
            self.progress = Progress(**(saved.clock or {}))  # type: ignore[arg-type]
            self.learner.restore(saved, self.progress.step)
        except (ModelError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"cannot resume {self.checkpoint}: {error}") from error
        # A resumed run must not see the batches of its beginning again: it draws with another seed.
        seed, step = self.config.seed, self.progress.step
        torch.manual_seed(seed * 1000 + step * 100)
        self.sampler.rng = np.random.default_rng([seed, self.processes.rank, step])
        self.saved = self.progress
        if self.processes.first:
            minutes = self.progress.elapsed_s / 60
            done = min(1.0, self.progress.done(self.config))
            say(f"resuming {self.checkpoint} at step {step}, {minutes:.0f} min in, {done:.0%} done")
            if done == 1:
                say("nothing is left to do: more --steps or --minutes would go on from there")


def train(config: TrainingConfig, shape: VaeConfig) -> Path:
    """Runs to the end of the budget, or goes on from the checkpoint in `config.out`. Ctrl-C ends a
    run early, and so do SIGTERM and SIGHUP, after which SystemExit is raised: whoever sends them
    waits for no export. Returns the checkpoint's path. Raises AudioError, OutputError, ConfigError
    and ModelError (Diverged, too).
    """
    with signals_unwind():
        run = Run(config, shape)
        try:
            run.train()
        except (KeyboardInterrupt, SystemExit) as end:  # the checkpoint was written on the way out
            if run.processes.first:
                say(f"stopped at step {run.progress.step}; the same command goes on from there")
            if isinstance(end, SystemExit):
                raise
    run.processes.leave()
    return run.checkpoint


def _read_corpora(
    config: TrainingConfig, shape: VaeConfig, processes: Processes
) -> tuple[NDArray[np.int16], NDArray[np.int16] | None]:
    """-> speech and noise. Rank 0 writes the cache while the others wait, who then read it."""
    if not processes.first:
        processes.barrier()
    speech, noise = (
        load_corpus(folder, shape.sample_rate, config.out / "cache", progress=processes.first)
        if folder
        else None
        for folder in (config.data, config.noise)
    )
    if processes.first:
        processes.barrier()
    assert speech is not None
    return speech, noise


def _read_sample(config: TrainingConfig, shape: VaeConfig) -> Pcm | None:
    """At the beginning, so that what is wrong with it ends no run at its first checkpoint."""
    if config.sample is None:
        return None
    pcm = read_mono(config.sample, shape.sample_rate)
    if len(pcm) < shape.packet:
        raise AudioError(f"{config.sample} is shorter than a packet, {shape.packet} samples")
    return pcm


def _sampler(
    config: TrainingConfig,
    shape: VaeConfig,
    speech: NDArray[np.int16],
    noise: NDArray[np.int16] | None,
    rank: int,
) -> SegmentSampler:
    return SegmentSampler(
        speech=speech,
        noise=noise,
        sample_rate=shape.sample_rate,
        segment=int(config.segment_s * shape.sample_rate) // shape.packet * shape.packet,
        packet=shape.packet,
        batch=config.batch,
        augmentation=AUGMENTATION if config.augment else NO_AUGMENTATION,
        rng=np.random.default_rng([config.seed, rank]),
    )


def _first_model(config: TrainingConfig, shape: VaeConfig, speech: NDArray[np.int16]) -> VoiceVae:
    """The weights of the warm start, or a transform codec fitted to `speech` with an untrained
    network beside it. Raises ModelError.
    """
    model = VoiceVae(shape)
    if config.warm_start is not None:
        found, state = checkpoint.load_weights(
            config.warm_start, layered=config.waveform_share == 1
        )
        if found != shape:
            raise ModelError(
                f"{config.warm_start} holds a model of another shape; train it with its own "
                "--config"
            )
        checkpoint.assign(model, state, config.warm_start)
        return model
    rng = np.random.default_rng(config.seed)
    basis, variance = transform_start(speech, shape.packet + shape.overlap, rng)
    model.start_from_klt(torch.from_numpy(basis), torch.from_numpy(variance))
    noise = steady_noise(shape.noise_frames * shape.hop)
    model.noise.copy_(noise_spectra(noise, shape.frame, shape.hop))
    return model
