"""How good a decoded clip is: the metrics by their names, and those that come from elsewhere. Each
of these takes reference and output [T], aligned and equally long, at SAMPLE_RATE but for ViSQOL
audio, and gives one number.

DNSMOS, PLCMOS and Distill-MOS only listen to the output; the others compare.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from streamcodec.errors import ConfigError
from streamcodec.units import Pcm

from .formats import FULL_BAND_RATE, SAMPLE_RATE, Format
from .signal_metrics import (
    buzz,
    high_band_distance,
    log_spectral_distance,
    pumping,
    repetition,
)
from .stereo_metrics import coherence_error, level_error


@dataclasses.dataclass(frozen=True)
class Metric:
    """`function` takes reference and output, aligned and equally long, at `sample_rate` Hz, and
    gives one number, NaN where it has none for the clip. It takes [T]; with `stereo` [T, 2]. title:
    in tables. high_band: it hears nothing but what is above the core's band. needs: a module that
    must be installed; empty: none.
    """

    title: str
    function: Callable[[Pcm, Pcm], float]
    sample_rate: int = SAMPLE_RATE
    lower_is_better: bool = False
    stereo: bool = False
    high_band: bool = False
    needs: str = ""


def pesq(reference: Pcm, output: Pcm) -> float:
    """PESQ-WB (ITU-T P.862.2), 1.0 to 4.64."""
    from pesq import NoUtterancesError
    from pesq import pesq as score

    try:
        return float(score(SAMPLE_RATE, reference, output, "wb"))
    except NoUtterancesError:
        return float("nan")


def visqol(reference: Pcm, output: Pcm) -> float:
    """ViSQOL v3 speech mode, exponential mapper, 1 to 5. The lattice mapper is not used, because it
    punishes inaudible noise.
    """
    return float(
        _visqol()
        .measure_from_arrays(reference.astype(np.float64), output.astype(np.float64), SAMPLE_RATE)
        .moslqo
    )


def visqol_audio(reference: Pcm, output: Pcm) -> float:
    """ViSQOL v3 audio mode, 1 to 4.73: for music, and for full band. At FULL_BAND_RATE."""
    wide = [pcm.astype(np.float64) for pcm in (reference, output)]
    return float(_visqol_audio().measure_from_arrays(*wide, FULL_BAND_RATE).moslqo)


def estoi(reference: Pcm, output: Pcm) -> float:
    """Extended short-time objective intelligibility (Jensen & Taal 2016), up to 1."""
    from pystoi import stoi

    with warnings.catch_warnings():
        # clips of too little speech: it returns 1e-5
        warnings.simplefilter("ignore", RuntimeWarning)
        value = float(stoi(reference, output, SAMPLE_RATE, extended=True))
    return value if value > 1e-4 else float("nan")


def dnsmos_signal(reference: Pcm, output: Pcm) -> float:
    """DNSMOS P.835 signal quality, 1 to 5 (Reddy et al. 2022): how natural the voice is."""
    from speechmos import dnsmos

    return float(dnsmos.run(_within_scale(output), SAMPLE_RATE)["sig_mos"])


def plcmos(reference: Pcm, output: Pcm) -> float:
    """PLCMOS v2, 1 to 5 (Diener et al. 2023): hears gaps and buzz."""
    from speechmos import plcmos as scorer

    return float(scorer.run(_within_scale(output), SAMPLE_RATE)["plcmos"])


def distillmos(reference: Pcm, output: Pcm) -> float:
    """Distill-MOS, 1 to 5 (Stahl & Gamper 2025): a small network distilled from a judge on XLS-R.
    It stays a judge: used in a loss, it would measure how well training has fooled it.
    """
    import torch

    with torch.no_grad():
        return float(_distillmos()(torch.from_numpy(np.array(output, np.float32))[None]))


def speaker_similarity(reference: Pcm, output: Pcm) -> float:
    """Cosine of Resemblyzer's speaker embeddings (Wan et al. 2018), up to 1."""
    encoder = _speaker_encoder()
    return float(encoder.embed_utterance(reference) @ encoder.embed_utterance(output))


def word_errors(reference: Pcm, output: Pcm) -> float:
    """Percent of words that PocketSphinx (its English model) recognises otherwise than in the
    original. No transcript is needed, but the reference holds the recogniser's own mistakes: good
    for a comparison of codecs in English, not as a figure by itself.
    """
    import jiwer

    expected = _recognised(reference.tobytes())
    if not expected:
        return float("nan")
    return 100 * float(jiwer.wer(expected, _recognised(output.tobytes())))


METRICS = {
    "pesq": Metric("PESQ-WB", pesq, needs="pesq"),
    "visqol": Metric("ViSQOL", visqol, needs="visqol"),
    "visqol-audio": Metric(
        "ViSQOL audio", visqol_audio, sample_rate=FULL_BAND_RATE, needs="visqol"
    ),
    "estoi": Metric("ESTOI", estoi, needs="pystoi"),
    "lsd": Metric("LSD dB", log_spectral_distance, lower_is_better=True),
    "lsd-high": Metric(
        "LSD 8-16 kHz dB",
        high_band_distance,
        sample_rate=FULL_BAND_RATE,
        lower_is_better=True,
        high_band=True,
    ),
    "stereo-level": Metric(
        "stereo level dB",
        level_error,
        sample_rate=FULL_BAND_RATE,
        lower_is_better=True,
        stereo=True,
    ),
    "stereo-coherence": Metric(
        "stereo coherence",
        coherence_error,
        sample_rate=FULL_BAND_RATE,
        lower_is_better=True,
        stereo=True,
    ),
    "dnsmos": Metric("DNSMOS sig", dnsmos_signal, needs="speechmos"),
    "plcmos": Metric("PLCMOS", plcmos, needs="speechmos"),
    "distillmos": Metric("Distill-MOS", distillmos, needs="distillmos"),
    "speaker": Metric("speaker sim.", speaker_similarity, needs="resemblyzer"),
    "wer": Metric("WER %", word_errors, lower_is_better=True, needs="pocketsphinx"),
    "buzz": Metric("buzz dB", buzz, lower_is_better=True),
    "repetition": Metric("repetition", repetition, lower_is_better=True),
    "pumping": Metric("pumping dB", pumping, lower_is_better=True),
}
# How to install what no extra brings. distillmos requires torchaudio and, through xls-r-sqa,
# transformers; neither is used here, and no torchaudio fits the pinned PyTorch.
INSTALL_BY_HAND = {"distillmos": "pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0"}


def metrics_for(form: Format) -> list[str]:
    """Names of those that tell something about clips of this format."""
    return [
        name
        for name, metric in METRICS.items()
        if (form.full_band or not metric.high_band) and (form.stereo or not metric.stereo)
    ]


def needs_of(names: Iterable[str]) -> set[str]:
    """The modules that these metrics must find installed."""
    return {METRICS[name].needs for name in names} - {""}


def figures(
    names: Iterable[str], reference: Pcm, output: Pcm, sample_rate: int = SAMPLE_RATE
) -> dict[str, float]:
    """Metric -> figure, of signals [T] or [T, 2] at `sample_rate` Hz, aligned and equally long. Two
    channels have the mean over both where a metric takes one; one channel has no figure (NaN) where
    a metric takes two.
    """
    import soxr

    @functools.cache
    def at(rate: int) -> tuple[Pcm, Pcm]:
        if rate == sample_rate:
            return reference, output
        a, b = (soxr.resample(pcm, sample_rate, rate) for pcm in (reference, output))
        return a, b

    def figure(metric: Metric) -> float:
        a, b = at(metric.sample_rate)
        if metric.stereo:
            return metric.function(a, b) if a.ndim == 2 else float("nan")
        if a.ndim == 1:
            return metric.function(a, b)
        channels = zip(np.ascontiguousarray(a.T), np.ascontiguousarray(b.T), strict=True)
        return finite_mean([metric.function(*channel) for channel in channels])

    return {name: figure(METRICS[name]) for name in names}


def finite_mean(values: Iterable[float]) -> float:
    """Of those that are finite; NaN where none is."""
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def _within_scale(pcm: Pcm) -> Pcm:
    return np.clip(pcm, -1, 1)


@functools.lru_cache(maxsize=64)
def _recognised(pcm: bytes) -> str:
    """The words in float32 samples. Cached, because the same original is compared with every codec
    at every rate.
    """
    decoder = _recogniser()
    decoder.start_utt()
    samples = (_within_scale(np.frombuffer(pcm, np.float32)) * 32767).astype(np.int16)
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return str(hypothesis.hypstr) if hypothesis is not None else ""


@functools.cache
def _recogniser() -> Any:
    from pocketsphinx import Decoder

    return Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")


@functools.cache
def _visqol_audio() -> Any:
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    return api


@functools.cache
def _visqol() -> Any:
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="speech", use_lattice_model=False)
    return api


@functools.cache
def _distillmos() -> Any:
    """Raises ConfigError where the package or what it imports is missing."""
    with _without_torchaudio():
        try:
            from distillmos import ConvTransformerSQAModel
        except ImportError as error:
            raise ConfigError(
                f"Distill-MOS cannot be loaded ({error}): {INSTALL_BY_HAND['distillmos']}"
            ) from error
    # it prints where its weights lie, and standard output is for the table
    with contextlib.redirect_stdout(io.StringIO()):
        return ConvTransformerSQAModel().eval()


@contextlib.contextmanager
def _without_torchaudio() -> Iterator[None]:
    """An empty module in the place of torchaudio, which distillmos imports only to read files."""
    name = "torchaudio"
    before = sys.modules.get(name)
    sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


@functools.cache
def _speaker_encoder() -> Any:
    with warnings.catch_warnings():
        # it imports from modules that SciPy and setuptools will drop
        warnings.simplefilter("ignore")
        from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)
