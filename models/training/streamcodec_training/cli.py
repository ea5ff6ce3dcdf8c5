"""`streamcodec train`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from streamcodec_models.config import VaeConfig

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
PATH = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--data", type=FOLDER, required=True, help="Folder of audio, searched with its subfolders."
)
@click.option("--noise", type=FOLDER, help="Folder of noise to mix in.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the run; one that exists is resumed.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Train this long, resumptions included.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Train this many steps, resumptions included."
)
@click.option("--batch", default=12, show_default=True, help="Segments a step and process.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--config", type=FILE, help="JSON with the network's shape; without it the shape that ships."
)
@click.option(
    "--warm-start", type=PATH, help="Checkpoint, or folder of a model, whose weights to begin with."
)
@click.option(
    "--sample", type=FILE, help="Recording to decode into TensorBoard at each checkpoint."
)
@click.option("--augment/--no-augment", default=True, show_default=True)
@click.option(
    "--adversarial",
    is_flag=True,
    help="The last stage, after --warm-start: the decoder alone learns, against discriminators.",
)
@click.option("--compile", "compile_model", is_flag=True, help="torch.compile the network.")
@click.option(
    "--export",
    "export_to",
    type=click.Path(file_okay=False, path_type=Path),
    help="At the end write model.safetensors and config.json here.",
)
def train(
    data: Path,
    noise: Path | None,
    out: Path,
    minutes: float | None,
    steps: int | None,
    batch: int,
    seed: int,
    device: str,
    config: Path | None,
    warm_start: Path | None,
    sample: Path | None,
    augment: bool,
    adversarial: bool,
    compile_model: bool,
    export_to: Path | None,
) -> None:
    """Train a codec on any folder of audio.

    Resumes by itself: give the same --out again. On several devices or processes run it under
    torchrun:

    torchrun --nproc-per-node 4 -m streamcodec_training --data DIR --out RUN --minutes 60
    """
    from .corpus import AUGMENTATION, NO_AUGMENTATION
    from .train import TrainingConfig
    from .train import train as run

    checkpoint = run(
        TrainingConfig(
            data=data,
            out=out,
            noise=noise,
            sample=sample,
            steps=steps,
            minutes=minutes,
            batch=batch,
            seed=seed,
            device=device,
            warm_start=warm_start,
            adversarial=adversarial,
            compile=compile_model,
            augmentation=AUGMENTATION if augment else NO_AUGMENTATION,
        ),
        _shape(config),
    )
    if int(os.environ.get("RANK", 0)) != 0:
        return  # under torchrun the first process speaks and writes for all
    click.echo(f"checkpoint: {checkpoint}")
    if export_to is not None:
        from .export import export

        click.echo(f"exported: {export(checkpoint, export_to, data)}")


def _shape(path: Path | None) -> VaeConfig:
    try:
        return VaeConfig.read(path) if path else VaeConfig()
    except (ValueError, TypeError) as error:
        raise click.BadParameter(f"{path} is no shape of a network: {error}") from error
