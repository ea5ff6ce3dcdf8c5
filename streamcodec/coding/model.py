"""A loaded model: one set of weights that any number of streams share."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from streamcodec_models import catalogue

from ..config import CodecConfig, check_number, packet_sizes, whole_number
from ..engines import native
from ..engines.api import Engine, LoadedModel
from ..errors import ConfigError, ModelError
from ..native.library import library
from ..tables import HIGH_BAND_FACTOR, EntropyTables, JointTables
from .bitstream import Bitstream
from .coder import Coder, NativeCoder
from .high_band import HighBand, NumpyHighBand
from .layered import LayeredCoder, NativeLayeredCoder
from .native_bitstream import NativeBitstream
from .native_high_band import NativeHighBand

DEVICES = ("auto", "cpu", "cuda")
ENGINES = ("auto", "native", "torch")


@dataclasses.dataclass(frozen=True)
class JointStereo:
    """For streams of two channels whose second is told by the first."""

    tables: EntropyTables
    joint: JointTables

    @functools.cached_property
    def bitstream(self) -> Bitstream | NativeBitstream:
        """Opened for the first stream: most processes have none, and it takes 7 ms."""
        return bitstream_of(self.tables, self.joint)


@dataclasses.dataclass(frozen=True)
class CodecModel:
    """Weights in an engine, with the bitstream that they define. Immutable: streams keep their
    state themselves.

    level_bitrates_bps [levels]: mean payload rate of one channel of speech at each quality level;
    it rises with the level from 0 on, and again from the first with the waveform layer on.
    hash: 16 hex digits, which a stream names so that nobody decodes it with other tables.
    high_band: what full-band streams take besides, with its own 16 hex digits; None for a model
    without. joint: likewise for two channels.
    """

    engine: Engine
    bitstream: Bitstream | NativeBitstream
    level_bitrates_bps: tuple[float, ...]
    hash: str
    high_band: HighBand | None = None
    high_band_hash: str = ""
    joint: JointStereo | None = None
    joint_hash: str = ""

    @property
    def config(self) -> CodecConfig:
        """Of a mono stream of the shortest packets."""
        return self.stream_config()

    @property
    def packet_sizes(self) -> tuple[int, ...]:
        """Samples of each channel that a payload may hold, ascending."""
        s = self.engine.shape
        return packet_sizes(s.hop * s.frames_per_packet)

    def packet_samples(self, packet_ms: float) -> int:
        """Samples of each channel in a payload of `packet_ms`. Raises ConfigError."""
        check_number("packet_ms", packet_ms)
        samples_per_ms = self.engine.shape.sample_rate / 1000
        sizes = {samples / samples_per_ms: samples for samples in self.packet_sizes}
        if packet_ms not in sizes:
            durations = ", ".join(f"{duration:g}" for duration in sizes)
            raise ConfigError(f"packet_ms must be one of {durations}, got {packet_ms:g}")
        return sizes[packet_ms]

    def stream_config(
        self,
        channels: int = 1,
        packet_samples: int | None = None,
        base_level: int = 0,
        *,
        joint: bool = False,
    ) -> CodecConfig:
        """Of the core, at its rate. packet_samples: None takes the shortest packets. Raises
        ConfigError for what this model cannot do.
        """
        if joint and self.joint is None:
            raise ConfigError(
                "this model has no joint stereo: its channels are coded on their own. "
                "`streamcodec train joint-stereo` fits it"
            )
        channels = whole_number("channels", channels)
        base_level = whole_number("base level", base_level)
        if not 0 <= base_level < self.bitstream.levels:
            raise ConfigError(
                f"base level must be 0 to {self.bitstream.levels - 1}, got {base_level}"
            )
        s = self.engine.shape
        step = s.hop * s.frames_per_packet
        samples = step if packet_samples is None else packet_samples
        return CodecConfig(
            s.sample_rate, step, s.overlap, samples, channels, base_level, joint=joint
        )

    def full_band(self, core: CodecConfig) -> CodecConfig:
        """The same stream at the full rate. Raises ConfigError for a model that has none."""
        if self.high_band is None:
            raise ConfigError(
                "this model has no high band: its streams are wideband. "
                "`streamcodec train high-band` fits one"
            )
        return dataclasses.replace(
            core,
            sample_rate=core.sample_rate * HIGH_BAND_FACTOR,
            step_samples=core.step_samples * HIGH_BAND_FACTOR,
            packet_samples=core.packet_samples * HIGH_BAND_FACTOR,
            overlap=self.high_band.lag,
            widening=HIGH_BAND_FACTOR,
        )

    def coder(self, config: CodecConfig, *, with_layer: bool = False) -> Coder:
        """For one stream; `with_layer`: whose packets are to have the waveform layer, or may."""
        engine, bitstream = self.engine, self.bitstream
        if config.joint:
            assert self.joint is not None  # or `stream_config` had refused
            bitstream = self.joint.bitstream
        if isinstance(engine, native.NativeEngine) and isinstance(bitstream, NativeBitstream):
            in_one_call = NativeLayeredCoder if with_layer else NativeCoder
            return in_one_call(engine, bitstream, config)
        return (LayeredCoder if with_layer else Coder)(engine, bitstream, config)


def load_model(
    name_or_path: str | Path | None = None, device: str = "auto", engine: str = "auto"
) -> CodecModel:
    """A shipped model by name, one from a folder, or the default.

    engine: `native` runs C code on packed weights on the CPU, `torch` is the reference, on CPU and
    CUDA. `auto` takes native where it is built, the model is packed and no GPU is asked for. With
    torch, device `auto` takes CUDA where there is a GPU.

    Raises ModelError for weights that cannot be read, or an engine that cannot run them, and
    ConfigError for an engine or a device that is not there.
    """
    if device not in DEVICES:
        raise ConfigError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if engine not in ENGINES:
        raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "native" and device == "cuda":
        raise ConfigError("the native engine runs on the CPU: for device cuda take engine torch")
    folder = catalogue.folder_of(name_or_path)
    if engine == "auto":
        packed = (folder / catalogue.packed_file("mixed")).is_file()
        engine = "native" if packed and device != "cuda" and library() is not None else "torch"
    loaded = native.load(folder) if engine == "native" else _load_with_torch(folder, device)
    bitstream = bitstream_of(loaded.tables)
    model = CodecModel(loaded.engine, bitstream, loaded.level_bitrates_bps, loaded.hash)
    return _with_joint_stereo(_with_high_band(model, folder), loaded.tables, folder)


def bitstream_of(
    tables: EntropyTables, joint: JointTables | None = None
) -> Bitstream | NativeBitstream:
    """In C where that is built, else in Python: both say the same to the byte. joint: for streams
    of two channels whose second is told by the first.
    """
    if library() is None:
        return Bitstream(tables, joint)
    return NativeBitstream(tables, joint=joint)


def _with_high_band(model: CodecModel, folder: Path) -> CodecModel:
    """Raises ModelError for tables that are damaged, or made for another core."""
    if (found := catalogue.high_band(folder)) is None:
        return model
    tables, digest = found
    kind = NumpyHighBand if library() is None else NativeHighBand
    config = model.config
    try:
        band = kind(tables, config.step_samples, config.overlap)
    except ValueError as error:
        raise ModelError(f"cannot use {folder / catalogue.HIGH_BAND_FILE}: {error}") from error
    return dataclasses.replace(model, high_band=band, high_band_hash=digest)


def _with_joint_stereo(model: CodecModel, tables: EntropyTables, folder: Path) -> CodecModel:
    """Raises ModelError for tables that are damaged, or made for another core."""
    if (found := catalogue.joint_stereo(folder)) is None:
        return model
    joint, digest = found
    scales = (len(joint.latents.buckets), len(joint.waveform.buckets))
    wanted = (len(tables.level_scale), len(tables.frequencies), len(tables.waveform.frequencies))
    if (found_for := (len(joint.level_frequencies), *scales)) != wanted:
        raise ModelError(
            f"cannot use {folder / catalogue.JOINT_STEREO_FILE}: it is for levels, scales of "
            f"latents and scales of the waveform layer {found_for}, the model has {wanted}"
        )
    return dataclasses.replace(model, joint=JointStereo(tables, joint), joint_hash=digest)


def _load_with_torch(folder: Path, device: str) -> LoadedModel:
    try:
        from ..engines import torch as torch_engine  # takes seconds: not before it is wanted
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the torch engine needs {error.name}: pip install 'streamcodec[torch]'; "
            "the native engine needs its library and a model that is packed for it"
        ) from error
    return torch_engine.load(folder, device)
