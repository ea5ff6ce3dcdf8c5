"""A loaded model: one set of weights that any number of streams share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from streamcodec_models import catalogue

from ..config import CodecConfig
from ..engines.api import Engine
from ..errors import ConfigError
from .bitstream import Bitstream

DEVICES = ("auto", "cpu", "cuda")


@dataclasses.dataclass(frozen=True)
class CodecModel:
    """Weights in an engine, with the bitstream that they define. Immutable: streams keep their
    state themselves.

    level_bitrates_bps [levels]: mean payload rate of one channel of speech at each quality level.
    hash: 16 hex digits, which a stream names so that nobody decodes it with other tables.
    """

    engine: Engine
    bitstream: Bitstream
    level_bitrates_bps: tuple[float, ...]
    hash: str

    @property
    def config(self) -> CodecConfig:
        """Of a mono stream with one latent a payload."""
        return self.stream_config()

    def stream_config(
        self, channels: int = 1, latents_per_payload: int = 1, base_level: int = 0
    ) -> CodecConfig:
        """Raises ConfigError for what this model cannot do."""
        if not 0 <= base_level < self.bitstream.levels:
            raise ConfigError(
                f"base level must be 0 to {self.bitstream.levels - 1}, got {base_level}"
            )
        s = self.engine.shape
        return CodecConfig(
            s.sample_rate,
            s.hop,
            s.overlap,
            s.frames_per_packet,
            channels,
            latents_per_payload,
            base_level,
        )


def load_model(name_or_path: str | Path | None = None, device: str = "auto") -> CodecModel:
    """A shipped model by name, one from a folder, or the default. `auto` takes CUDA where there is
    a GPU.

    Raises ModelError for weights that cannot be read and ConfigError for a device that is not
    there.
    """
    if device not in DEVICES:
        raise ConfigError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    folder = catalogue.folder_of(name_or_path)
    from ..engines import torch as torch_engine  # takes seconds: not before a model is wanted

    loaded = torch_engine.load(folder, device)
    return CodecModel(
        loaded.engine, Bitstream(loaded.tables), loaded.level_bitrates_bps, loaded.hash
    )
