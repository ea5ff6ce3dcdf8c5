"""What a run leaves on disk, and the one way to write and read it.

A checkpoint is a file of PyTorch tensors and plain values. Tools that change weights write one with
weights alone; a run adds what it needs to be resumed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcodec.ending import ENDING
from streamcodec.errors import ModelError
from streamcodec_models import weights
from streamcodec_models.config import VaeConfig
from streamcodec_models.vae import VoiceVae

from .files import written_whole

StateDict = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Fields are the keys of the file; those that are None are left out of it."""

    model_config: VaeConfig
    model: StateDict
    average: StateDict | None = None  # the running mean of the weights
    optimizers: list[dict[str, Any]] | None = None
    clock: dict[str, float] | None = None  # fields of `run.Progress`
    adversary: StateDict | None = None
    adversary_optimizer: dict[str, Any] | None = None

    @property
    def final_weights(self) -> StateDict:
        """The running mean where the run kept one: it scores better than the last step."""
        return self.model if self.average is None else self.average


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a file that takes the place of `path` once it is whole. Ctrl-C, SIGTERM and SIGHUP
    wait for that: torchrun passes Ctrl-C on to processes that the terminal has already sent it to,
    and the second one used to hit the middle of this. Raises ModelError, and writes nothing, where
    a number is not finite; OutputError. What was at `path` then stays.
    """
    state = {
        field.name: value
        for field in dataclasses.fields(checkpoint)
        if (value := getattr(checkpoint, field.name)) is not None
    }
    if wrong := _not_finite(state):
        raise ModelError(f"{_some(wrong)} not finite: {path} is not written")
    state["model_config"] = dataclasses.asdict(checkpoint.model_config)
    whole = io.BytesIO()  # PyTorch's own writer to files does not say that a disk is full
    with _signals_deferred():
        torch.save(state, whole)
        with written_whole(path) as file:
            file.write(whole.getbuffer())


def load(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Tensors come to `device`. Raises ModelError naming the file, also where a number in it is
    not finite.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        checkpoint = Checkpoint(
            model_config=VaeConfig.from_dict(state.pop("model_config")),
            model=state.pop("model"),
            **state,
        )
    except pickle.UnpicklingError as error:  # whose text advises to load it unsafely
        raise _unreadable(path, "it holds more than tensors and plain values") from error
    except (
        *(OSError, RuntimeError, EOFError),  # not a file of PyTorch
        *(AttributeError, KeyError, TypeError, ValueError),  # one with other contents
    ) as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error
    if wrong := _not_finite(checkpoint.__dict__):
        raise ModelError(f"{path} is of no use: {_some(wrong)} not finite")
    return checkpoint


def load_weights(
    path: Path, device: torch.device | str = "cpu", *, layered: bool = False
) -> tuple[VaeConfig, StateDict]:
    """Shape and final weights, from a checkpoint or from the folder of an exported model; with
    `layered` those of its network for levels with the waveform layer, where it has two. Raises
    ModelError naming the path.
    """
    if path.is_dir():
        stored = weights.load(path)
        vae = stored.layered if layered and stored.layered is not None else stored.vae
        return vae.config, vae.state_dict()
    checkpoint = load(path, device)
    return checkpoint.model_config, checkpoint.final_weights


def load_vae(path: Path, *, layered: bool = False) -> VoiceVae:
    """The network with its final weights, on the CPU and in evaluation mode, from what
    `load_weights` reads. Raises ModelError naming the path.
    """
    config, state = load_weights(path, layered=layered)
    vae = VoiceVae(config)
    assign(vae, state, path)
    return vae.eval()


def assign(vae: VoiceVae, state: StateDict, path: Path) -> None:
    """Copies weights that were read from `path` into `vae`. Raises ModelError naming the file where
    they do not fit.
    """
    try:
        vae.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path}: its weights do not fit its shape: {str(error).splitlines()[-1].strip()}"
        ) from error


def _not_finite(value: Any, name: str = "") -> list[str]:
    """Names of the tensors and numbers somewhere in `value` that are NaN or infinite."""
    if isinstance(value, Tensor):
        return [] if bool(value.isfinite().all()) else [name]
    if isinstance(value, float):
        return [] if math.isfinite(value) else [name]
    if isinstance(value, list):
        value = dict(enumerate(value))
    inner = value.items() if isinstance(value, dict) else ()
    return [n for key, part in inner for n in _not_finite(part, f"{name}.{key}".lstrip("."))]


def _some(names: list[str]) -> str:
    """The first of them in words, with a verb."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more} {'are' if more else 'is'}"


def _unreadable(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} is no checkpoint of a training: {reason.splitlines()[0]}")


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP that arrive inside are raised at its end. Masking them would not
    do: another thread would receive them.
    """
    waiting: list[int] = []
    before = {
        number: signal.signal(number, lambda n, _: waiting.append(n))
        for number in (signal.SIGINT, *ENDING)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in waiting:
            signal.raise_signal(caught)
