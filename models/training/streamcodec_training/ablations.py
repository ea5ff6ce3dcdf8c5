"""Which part of the design earns its place: short runs from nothing, equal in steps and batches,
one thing changed in each.

    python -m streamcodec_training.ablations --data DIR --dev DIR --noise DIR --out RUNS --steps 300 --jobs 2

prints a row a variant: the objective D + beta * R on dev, and PESQ-WB at equal rates, from the
prior's estimate of the bits. The objective of variants with another loss is still that of the
shipped loss, so that all rows compare. Needs the extra `quality`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from streamcodec_models.config import VaeConfig
from streamcodec_models.entropy import interpolate
from streamcodec_models.vae import VoiceVae

from .corpus import audio_files, read_mono
from .losses import Distortion
from .parameters import adamw, split_parameters
from .soap import Soap
from .train import Trainer, TrainingConfig
from .variants import LinearHeadVae, RecurrentVae, UnsplitVae

QUALITIES = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
RATES_BPS = (3_000.0, 6_000.0, 12_000.0)
CLIP_SECONDS = 8
SOAP_RATE = 3e-3  # its authors' own
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What differs from the design that ships. `change` is applied to the trainer before its first
    step.
    """

    name: str
    build: Callable[[VaeConfig], VoiceVae] = VoiceVae
    model: dict[str, int] = dataclasses.field(default_factory=dict)
    training: dict[str, float | int] = dataclasses.field(default_factory=dict)
    change: Callable[[Trainer], None] | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """lagrangian: mean over dev and all qualities. pesq: at RATES_BPS, NaN beyond the rates that
    the variant reaches.
    """

    name: str
    lagrangian: float
    pesq: list[float]
    minutes: float


def without_linear_path(trainer: Trainer) -> None:
    for layer in (trainer.model.skip_in, trainer.model.skip_out):
        torch.nn.init.zeros_(layer.weight)
        layer.weight.requires_grad_(False)
    # it begins near silence beside a linear path
    torch.nn.init.xavier_uniform_(trainer.model.to_latent.weight)


def without_comb(trainer: Trainer) -> None:
    torch.nn.init.zeros_(trainer.model.comb.control.weight)
    trainer.model.comb.control.bias.data[:3] = torch.tensor([-30.0, 0.0, 0.0])
    trainer.model.comb.requires_grad_(False)


def without_noise(trainer: Trainer) -> None:
    trainer.model.noise.zero_()


def waveform_twice(trainer: Trainer) -> None:
    trainer.distortion.waveform_weight *= 2


def without_loudness(trainer: Trainer) -> None:
    trainer.distortion.loudness_weight = 0


def all_windows(trainer: Trainer) -> None:
    trainer.distortion.drawn = None


def everything_by_adamw(trainer: Trainer) -> None:
    config = trainer.config
    matrices, rest, linear = split_parameters(trainer.model)
    trainer.optimizers = [
        (adamw(matrices + rest, config.vector_rate), config.vector_rate),
        (adamw(linear, config.linear_rate), config.linear_rate),
    ]


def matrices_by_soap(trainer: Trainer) -> None:
    matrices = split_parameters(trainer.model)[0]
    trainer.optimizers[0] = (Soap(matrices, SOAP_RATE), SOAP_RATE)


def one_rate_first(trainer: Trainer) -> None:
    every_rate = trainer.draw_quality

    def draw(batch: int, done: float) -> Tensor:
        return torch.full((batch,), 0.5) if done < 0.5 else every_rate(batch, done)

    trainer.draw_quality = draw  # type: ignore[method-assign]


VARIANTS = (
    Variant("as it ships"),
    Variant("no linear path", change=without_linear_path),
    Variant("no pitch comb", change=without_comb),
    Variant("AdamW for all", change=everything_by_adamw),
    Variant("one class", model={"classes": 1}),
    Variant("overlap 10 ms", model={"overlap": 160}),
    Variant("overlap 2.5 ms", model={"overlap": 40}),
    Variant("128 latents", model={"latent_dim": 128}),
    Variant("no loudness in the loss", change=without_loudness),
    Variant("analysis window 20 ms", model={"analysis_window": 320}),
    Variant("analysis window 48 ms", model={"analysis_window": 768}),
    Variant("256 latents", model={"latent_dim": 256}),
    Variant("no noise branch", change=without_noise),
    Variant("complex term twice", change=waveform_twice),
    Variant("all windows each step", change=all_windows),
    Variant("half the batch, segments twice as long", training={"batch": 6, "segment_s": 2.56}),
    Variant("no low rates preferred", training={"low_rates": 1.0}),
    Variant("GRUs at the packet rate", build=RecurrentVae),
    Variant("no gain beside the shape", build=UnsplitVae),
    Variant("linear head", build=LinearHeadVae),
    Variant("SOAP for the matrices", change=matrices_by_soap),
    Variant("one rate in the first half", change=one_rate_first),
    Variant("bits at full cost from the first step", training={"rate_ramp_steps": 1}),
)


def run(variant: Variant, base: TrainingConfig, dev: list[np.ndarray]) -> Result:
    """Train and judge one variant."""
    torch.set_num_threads(1)
    out = base.out / variant.name.replace(" ", "-")
    shutil.rmtree(out, ignore_errors=True)  # equal steps: nothing is resumed
    out.mkdir(parents=True)
    (out / "cache").symlink_to((base.out / "cache").resolve())
    shape = dataclasses.replace(VaeConfig(), **variant.model)  # type: ignore[arg-type]
    trainer = Trainer(dataclasses.replace(base, out=out, **variant.training), shape, variant.build)  # type: ignore[arg-type]
    if variant.change is not None:
        variant.change(trainer)
    trainer.run()
    lagrangian, pesq = judge(trainer.model.eval(), dev, trainer.log_betas)
    return Result(variant.name, lagrangian, pesq, trainer.clock.elapsed_s / 60)


@torch.no_grad()
def judge(model: VoiceVae, clips: list[np.ndarray], log_betas: Tensor) -> tuple[float, list[float]]:
    """clips of PCM [T] -> D + beta * R, and PESQ-WB at each of RATES_BPS, interpolated over the
    logarithm of the rate.
    """
    from pesq import pesq

    c = model.config
    distortion = Distortion(c.sample_rate)
    objective, rates, scores = [], [], []
    for quality in QUALITIES:
        rate_bps, score = [], []
        for clip in clips:
            pcm = torch.from_numpy(clip[: len(clip) // c.packet * c.packet])[None]
            q = torch.full((1, pcm.shape[1] // c.packet), quality)
            mean, gain, _ = model.encode(pcm, q, model.initial_encoder_state(1))
            chosen = model.prior.choose(torch.round(mean), q)
            y = model.prior.quantise(mean, q, chosen)
            bps = model.prior.bits(y, gain, q, chosen).mean() * c.sample_rate / c.packet
            lost = torch.zeros_like(q, dtype=torch.bool)
            out = model.decode(y, gain, q, lost, model.initial_decoder_state(1))[0][:, c.overlap :]
            wanted = pcm[:, : -c.overlap]
            beta = torch.exp(interpolate(log_betas, q[:, :1])[0, 0])
            objective.append(float(distortion(out[None], wanted) + beta * bps))
            rate_bps.append(float(bps))
            score.append(pesq(c.sample_rate, wanted[0].numpy(), out[0].numpy(), "wb"))
        rates.append(float(np.mean(rate_bps)))
        scores.append(float(np.mean(score)))
    order = np.argsort(rates)
    at = np.interp(
        np.log(RATES_BPS),
        np.log(np.array(rates)[order]),
        np.array(scores)[order],
        left=np.nan,
        right=np.nan,
    )
    return float(np.mean(objective)), at.tolist()


@click.command()
@click.option("--data", type=FOLDER, required=True, help="Folder of audio to train on.")
@click.option("--noise", type=FOLDER, help="Folder of noise to mix in.")
@click.option("--dev", type=FOLDER, required=True, help="Folder of speech to judge on.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the runs.",
)
@click.option("--steps", default=300, show_default=True)
@click.option("--batch", default=12, show_default=True)
@click.option("--clips", default=6, show_default=True, help="Of dev, evenly chosen.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time, a thread each.")
@click.option("--only", default="", metavar="TEXT", help="Variants whose names hold this.")
def main(
    data: Path,
    noise: Path | None,
    dev: Path,
    out: Path,
    steps: int,
    batch: int,
    clips: int,
    jobs: int,
    only: str,
) -> None:
    """Short runs of equal length, one thing changed in each."""
    chosen = [v for v in VARIANTS if only in v.name]
    if not chosen:
        raise click.BadParameter(
            f"no variant holds {only!r}: {'; '.join(v.name for v in VARIANTS)}"
        )
    rate = VaeConfig().sample_rate
    files = audio_files(dev)
    heard = [
        read_mono(f, rate)[: CLIP_SECONDS * rate]
        for f in files[:: max(1, len(files) // clips)][:clips]
    ]
    base = TrainingConfig(data=data, out=out, noise=noise, steps=steps, batch=batch, device="cpu")
    (out / "cache").mkdir(parents=True, exist_ok=True)
    click.echo(
        f"{steps} steps of {batch} x {base.segment_s:g} s, seed {base.seed}; {len(heard)} clips of {CLIP_SECONDS} s of {dev}"
    )
    click.echo(
        "| variant | D + beta R | "
        + " | ".join(f"PESQ-WB at {r / 1000:g} kbit/s" for r in RATES_BPS)
        + " | minutes |"
    )
    click.echo("|---|---|" + "---|" * (len(RATES_BPS) + 1))
    with ProcessPoolExecutor(jobs, max_tasks_per_child=1) as pool:
        for done in as_completed(pool.submit(run, variant, base, heard) for variant in chosen):
            r = done.result()
            click.echo(
                f"| {r.name} | {r.lagrangian:.3f} | {' | '.join(f'{p:.2f}' for p in r.pesq)} | {r.minutes:.1f} |"
            )


if __name__ == "__main__":
    main()
