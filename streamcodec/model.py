"""A loaded model: one set of weights that any number of streams share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from streamcodec_models import weights
from streamcodec_models.vae import VoiceVae

from .bitstream import Bitstream
from .config import CodecConfig
from .errors import ConfigError, ModelError

DEVICES = ("auto", "cpu", "cuda")


@dataclasses.dataclass(frozen=True)
class CodecModel:
    """Weights on a device with the bitstream they define. Immutable: streams keep their state to themselves."""

    vae: VoiceVae
    bitstream: Bitstream
    level_bitrates_bps: tuple[float, ...]
    hash: str
    device: torch.device

    @property
    def config(self) -> CodecConfig:
        """Of a mono stream with one latent a payload."""
        return self.stream_config()

    def stream_config(self, channels: int = 1, latents_per_payload: int = 1, base_level: int = 0) -> CodecConfig:
        """Raises ConfigError for what this model cannot do."""
        if not 0 <= base_level < self.bitstream.levels:
            raise ConfigError(f"base level must be 0 to {self.bitstream.levels - 1}, got {base_level}")
        c = self.vae.config
        return CodecConfig(c.sample_rate, c.hop, c.overlap, c.frames_per_packet, channels, latents_per_payload, base_level)


def load_model(name_or_path: str | Path | None = None, device: str = "auto") -> CodecModel:
    """A shipped model by name, one from a folder, or the default. `auto` takes CUDA where there is a GPU.

    Raises ModelError for weights that cannot be read and ConfigError for a device that is not there.
    """
    if device not in DEVICES:
        raise ConfigError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ConfigError("device cuda: PyTorch finds no GPU here; use cpu or auto")
    chosen = torch.device("cuda" if available and device != "cpu" else "cpu")
    try:
        loaded = weights.load(weights.folder_of(name_or_path))
    except weights.WeightsError as error:
        raise ModelError(str(error)) from error
    return CodecModel(loaded.vae.to(chosen), Bitstream(loaded.tables), loaded.level_bitrates_bps, loaded.hash, chosen)
