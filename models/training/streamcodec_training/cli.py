"""`streamcodec train`, and below it what turns a run into a model: finish, average, curves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from streamcodec.errors import ModelError
from streamcodec_models.catalogue import folder_of, shipped_names
from streamcodec_models.config import VaeConfig

from .config import TrainingConfig
from .files import require_writable

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
PATH = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
RATE = click.FloatRange(min=0, min_open=True)
WEIGHT = click.FloatRange(min=0)
SHARE = click.FloatRange(0, 1)
SHARE_BELOW_1 = click.FloatRange(0, 1, max_open=True)
COUNT = click.IntRange(min=1)


class Begin(click.Path):
    """A checkpoint or the folder of a model, which may also be named as `talk --model` takes it."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        shipped = str(value) in shipped_names() and not Path(value).exists()
        return super().convert(folder_of(value) if shipped else value, param, ctx)


def setting(field: str, help_line: str, kind: Any, flag: str | None = None) -> Callable[..., Any]:
    """The flag of a field of TrainingConfig, with the default that stands there."""
    flag = flag or "--" + field.replace("_", "-")
    default = getattr(TrainingConfig, field, None)
    shown = default is not None and default is not False
    return click.option(flag, field, type=kind, default=default, show_default=shown, help=help_line)


BEGIN = Begin(exists=True, path_type=Path)

# Every field of TrainingConfig, in the order in which --help lists them.
SETTINGS = (
    setting("data", "Folder of audio, searched with its subfolders.", FOLDER),
    setting("out", "Folder of the run; one that exists is resumed.", NEW_FOLDER),
    setting("noise", "Folder of noise to mix in.", FOLDER),
    setting("minutes", "Train this long, resumptions included.", RATE),
    setting("steps", "Train this many steps, resumptions included.", COUNT),
    setting("batch", "Segments in a step, per process.", COUNT),
    setting("segment_s", "Seconds of a segment.", RATE),
    setting("seed", "Seed of first weights, batches and noise.", int),
    setting("device", "Where the network learns.", click.Choice(["auto", "cpu", "cuda"])),
    setting(
        "warm_start",
        "Checkpoint, or folder or name of a model, whose weights to begin with.",
        BEGIN,
    ),
    setting("sample", "Recording to decode into TensorBoard at each checkpoint.", FILE),
    setting("augment", "Alter levels, rooms, noise and loss.", bool, "--augment/--no-augment"),
    setting("matrix_rate", "Learning rate of Muon, for hidden matrices.", RATE),
    setting("vector_rate", "Learning rate of AdamW, for all other parts.", RATE),
    setting("linear_rate", "Learning rate of AdamW, for the linear path.", RATE),
    setting("prior_rate", "Learning rate of AdamW, for the waveform layer's prior.", RATE),
    setting("decay_from", "Share of the run after which learning rates fall.", SHARE_BELOW_1),
    setting("average_decay", "Decay per step of the running mean of weights.", SHARE_BELOW_1),
    setting("beta_low", "Price of a bit/s at quality 0.", RATE),
    setting("beta_high", "Price of a bit/s at quality 1.", RATE),
    setting("beta_waveform_low", "Price of a bit/s at the lowest level with the layer.", RATE),
    setting("beta_waveform_high", "Price of a bit/s at the highest level.", RATE),
    setting("waveform_share", "Share of segments with the waveform layer.", SHARE),
    setting("low_rates", "Draw qualities as this power of a uniform number.", RATE),
    setting("rate_ramp_steps", "Steps until bits cost their full price.", COUNT),
    setting(
        "draws", "Draws of noise per segment; 2 for the energy distance.", click.IntRange(1, 2)
    ),
    setting("loudness_weight", "Weight of the disturbance in loudness.", WEIGHT),
    setting("buzz_weight", "Weight of modulation at packet and frame rate.", WEIGHT),
    setting("repetition_weight", "Weight of repetition from packet to packet.", WEIGHT),
    setting(
        "adversarial",
        "The last stage, after --warm-start: only the decoder learns, against discriminators.",
        bool,
        "--adversarial/--no-adversarial",
    ),
    setting("compile", "torch.compile the network.", bool, "--compile/--no-compile"),
    setting("checkpoint_minutes", "Minutes between checkpoints.", RATE),
    setting("log_steps", "Steps between points of the curves.", COUNT),
)


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(SETTINGS):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@with_settings
@click.option(
    "--config", type=FILE, help="JSON with the network's shape; without it the shape that ships."
)
@click.option(
    "--export", "export_to", type=NEW_FOLDER, help="At the end write a model here; see `finish`."
)
@click.pass_context
def train(
    context: click.Context, /, config: Path | None, export_to: Path | None, **settings: Any
) -> None:
    """Train a codec on any folder of audio.

    Give --steps or --minutes, which say how long. Ctrl-C or SIGTERM ends a run early, with a
    checkpoint; the same command with the same --out goes on from there.

    The progress bar shows the share of the run that is done and, of the latest batch, the loss
    (distortion plus the price of the bits), the distortion (how far the decoded sound is from the
    original) and the mean bit rate. The curves are in RUN/events, for tensorboard --logdir RUN.

    On several devices or processes run it under torchrun, with the same options:

    torchrun --nproc-per-node 4 -m streamcodec_training --data DIR ...
    """
    # `settings` are the fields of TrainingConfig by their names: written out, the flags above would
    # stand here twice more.
    if context.invoked_subcommand is not None:
        return
    if missing := [f"--{name}" for name in ("data", "out") if settings[name] is None]:
        raise click.UsageError(f"Missing option {' and '.join(missing)}.", context)
    shape = _shape(config)
    chosen = TrainingConfig(**settings)
    for folder in (chosen.out, export_to):
        if folder is not None:
            require_writable(folder)

    from .run import train as run

    checkpoint = run(chosen, shape)
    if int(os.environ.get("RANK", 0)) != 0:
        return  # under torchrun the first process speaks and writes for all
    click.echo(f"checkpoint: {checkpoint}")
    if export_to is not None:
        _export(checkpoint, chosen.data, export_to)


@train.command()
@click.argument("checkpoint", type=FILE)
@click.option("--data", type=FOLDER, required=True, help="Folder of speech.")
@click.option("--export", "folder", type=NEW_FOLDER, required=True, help="Where the model goes.")
@click.option(
    "--layered",
    type=PATH,
    help="Checkpoint of a run with --waveform-share 1: the network of levels with the waveform "
    "layer, in place of CHECKPOINT's.",
)
@click.option(
    "--fit-noise",
    "noise_share",
    type=SHARE,
    metavar="SHARE",
    help="Move the levels of the noise branch by this share of the way to their fit.",
)
@click.option(
    "--fit-swell/--no-fit-swell",
    default=True,
    show_default=True,
    help="Fit how deep the noise is modulated by the voice.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the choice of clips for the fits."
)
def finish(
    checkpoint: Path,
    data: Path,
    folder: Path,
    layered: Path | None,
    noise_share: float | None,
    fit_swell: bool,
    seed: int,
) -> None:
    """Make a model of a CHECKPOINT.

    Fits the noise, fits the entropy tables, measures the bit rate of each quality level, and writes
    model.safetensors and config.json.
    """
    _export(checkpoint, data, folder, layered, noise_share, fit_swell, seed)


@train.command(name="high-band", short_help="Fit what is said of the sound above 8 kHz.")
@click.argument("model", type=FOLDER)
@click.option(
    "--data",
    "folders",
    type=FOLDER,
    required=True,
    multiple=True,
    help="Folder of recordings of 44.1 kHz or more; may be given several times.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the codebooks.")
def high_band(model: Path, folders: tuple[Path, ...], seed: int) -> None:
    """Fit the tables of the high band of a MODEL, so that its streams can be full band."""
    from .high_band import fit_high_band

    click.echo(f"wrote {fit_high_band(folders, model, seed)}")


@train.command(name="joint-stereo", short_help="Fit what one channel says of another.")
@click.argument("model", type=FOLDER)
@click.option(
    "--data",
    "folders",
    type=FOLDER,
    required=True,
    multiple=True,
    help="Folder of recordings, of two channels and of one; may be given several times.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of what is taken and placed.")
def joint_stereo(model: Path, folders: tuple[Path, ...], seed: int) -> None:
    """Fit the tables of joint stereo of a MODEL, so that two channels cost less than twice one.

    Recordings of one channel are placed: in the middle, at a side, in a room, beside another.
    """
    from .joint_stereo import fit_joint_stereo

    click.echo(f"wrote {fit_joint_stereo(folders, model, seed)}")


@train.command(short_help="Mix the weights of two runs.")
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.argument("share", type=SHARE)
@click.argument("out", type=NEW_FILE)
def average(first: Path, second: Path, share: float, out: Path) -> None:
    """Mix the weights of two runs into the checkpoint OUT; SHARE of the second."""
    from .average import average as mix

    mix(first, second, share, out)


@train.command(short_help="Draw the learning curves of a run, or what was measured of many.")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.argument("picture", type=NEW_FILE)
def curves(run: Path, picture: Path) -> None:
    """Draw the learning curves of a RUN's folder as a PICTURE (.png, .svg); or, where RUN is a CSV
    such as models/training/measured.csv, the quality that was measured after each run, over hours
    of training.
    """
    if run.is_file():
        from .measured import draw_points, read_points

        draw_points(read_points(run), picture)
    else:
        from .curves import draw

        draw(run, picture)


def _export(
    checkpoint: Path,
    data: Path,
    folder: Path,
    layered: Path | None = None,
    noise_share: float | None = None,
    swell: bool = False,
    seed: int = 0,
) -> None:
    from streamcodec.engines.torch import TorchEngine

    from . import fit_noise, fit_swell
    from .checkpoint import load_vae
    from .corpus import load_corpus
    from .export import export

    require_writable(folder)
    vae = load_vae(checkpoint)
    second = load_vae(layered, layered=True) if layered else None
    if second is not None and second.config != vae.config:
        raise ModelError(f"{layered} holds a network of another shape than {checkpoint}")
    # First of all: it names what cannot be read, and refuses silence.
    speech = load_corpus(data, vae.config.sample_rate, checkpoint.parent / "cache")
    if noise_share is not None:
        fit_noise.fit(vae, data, noise_share, seed)
    if swell:
        for quality, shift in zip(fit_swell.QUALITIES, fit_swell.fit(vae, data, seed), strict=True):
            click.echo(f"depth of swells at quality {quality:g}: logit moved by {shift:+.2f}")
    export(TorchEngine(vae, second), folder, data, speech)
    click.echo(f"exported: {folder}")


def _shape(path: Path | None) -> VaeConfig:
    try:
        return VaeConfig.read(path) if path else VaeConfig()
    except (ValueError, TypeError) as error:
        raise click.BadParameter(f"{path} is no shape of a network: {error}") from error
