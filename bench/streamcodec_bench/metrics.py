"""How good a decoded clip is. Each metric takes reference and output [T] at 16 kHz, aligned, and
gives one number.

DNSMOS, PLCMOS and Distill-MOS only listen to the output; the others compare.
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcodec.errors import ConfigError
from streamcodec.units import Pcm

SAMPLE_RATE = 16_000
FRAME_RATES_HZ = (50.0, 100.0)  # of our packets and synthesis frames: where a buzz would be
ENVELOPE_RATE = 1_000
VISQOL_AUDIO_RATE = 48_000


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
    """ViSQOL v3 audio mode, 1 to 4.73: for music. It compares at 48 kHz; above 8 kHz both signals
    are silent.
    """
    import soxr

    wide = [
        soxr.resample(pcm.astype(np.float64), SAMPLE_RATE, VISQOL_AUDIO_RATE)
        for pcm in (reference, output)
    ]
    return float(_visqol_audio().measure_from_arrays(*wide, VISQOL_AUDIO_RATE).moslqo)


def estoi(reference: Pcm, output: Pcm) -> float:
    """Extended short-time objective intelligibility (Jensen & Taal 2016), up to 1."""
    from pystoi import stoi

    with warnings.catch_warnings():
        # clips of too little speech: it returns 1e-5
        warnings.simplefilter("ignore", RuntimeWarning)
        value = float(stoi(reference, output, SAMPLE_RATE, extended=True))
    return value if value > 1e-4 else float("nan")


def log_spectral_distance(reference: Pcm, output: Pcm) -> float:
    """Root mean square difference of log spectra in dB, 32 ms windows, down to 60 dB below the
    loudest.
    """
    a, b = _power_spectrum(reference), _power_spectrum(output)
    floor = max(1e-12, float(a.max(initial=0)) * 1e-6)
    difference = 10 * np.log10(np.maximum(a, floor) / np.maximum(b, floor))
    return float(np.mean(np.sqrt(np.mean(difference**2, axis=1))))


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


def buzz(reference: Pcm, output: Pcm) -> float:
    """How many dB more the output's envelope is modulated at our frame rates than the reference's,
    above 3 kHz; the larger of the two rates. Modulation is relative to the envelope's mean.
    """
    a, b = _modulation(reference), _modulation(output)
    return float(max(10 * np.log10(b[rate] / a[rate]) for rate in FRAME_RATES_HZ))


def repetition(reference: Pcm, output: Pcm) -> float:
    """How much more the output correlates with itself one packet earlier than the reference does,
    above 2 kHz: 0 for sound that repeats itself no more than the original, near 1 where noise has
    become a periodic wave. The other metrics do not measure that.
    """
    return float(np.mean(_self_resemblance(output) - _self_resemblance(reference)))


METRICS: dict[str, Callable[[Pcm, Pcm], float]] = {
    "pesq": pesq,
    "visqol": visqol,
    "visqol-audio": visqol_audio,
    "estoi": estoi,
    "lsd": log_spectral_distance,
    "dnsmos": dnsmos_signal,
    "plcmos": plcmos,
    "distillmos": distillmos,
    "speaker": speaker_similarity,
    "wer": word_errors,
    "buzz": buzz,
    "repetition": repetition,
}
LOWER_IS_BETTER = frozenset({"lsd", "wer", "buzz", "repetition"})
NEEDS = {
    "pesq": "pesq",
    "visqol": "visqol",
    "visqol-audio": "visqol",
    "estoi": "pystoi",
    "dnsmos": "speechmos",
    "plcmos": "speechmos",
    "distillmos": "distillmos",
    "speaker": "resemblyzer",
    "wer": "pocketsphinx",
}
# How to install what no extra brings. distillmos requires torchaudio and, through xls-r-sqa,
# transformers; neither is used here, and no torchaudio fits the pinned PyTorch.
INSTALL_BY_HAND = {"distillmos": "pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0"}
TITLES = {
    "pesq": "PESQ-WB",
    "visqol": "ViSQOL",
    "visqol-audio": "ViSQOL audio",
    "estoi": "ESTOI",
    "lsd": "LSD dB",
    "dnsmos": "DNSMOS sig",
    "plcmos": "PLCMOS",
    "distillmos": "Distill-MOS",
    "speaker": "speaker sim.",
    "wer": "WER %",
    "buzz": "buzz dB",
    "repetition": "repetition",
}


def _power_spectrum(pcm: Pcm) -> NDArray[np.float64]:
    window = 512
    padded = np.concatenate([pcm, np.zeros(max(0, window - len(pcm)), np.float32)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 2] * np.hanning(
        window
    )
    power: NDArray[np.float64] = np.abs(np.fft.rfft(frames)) ** 2
    return power


def _modulation(pcm: Pcm) -> dict[float, float]:
    """Power of the envelope's modulation around each frame rate, relative to its squared mean;
    above 3 kHz.
    """
    from scipy.signal import butter, sosfilt, welch

    high = np.abs(sosfilt(butter(6, 3_000, "highpass", fs=SAMPLE_RATE, output="sos"), pcm))
    envelope = high[: len(high) // 16 * 16].reshape(-1, SAMPLE_RATE // ENVELOPE_RATE).mean(1)
    frequencies, power = welch(
        envelope, ENVELOPE_RATE, nperseg=min(1000, len(envelope)), detrend="constant"
    )
    total = envelope.mean() ** 2 + 1e-20
    return {
        rate: float(power[np.abs(frequencies - rate) <= 1.5].mean() / total + 1e-9)
        for rate in FRAME_RATES_HZ
    }


def _self_resemblance(pcm: Pcm) -> NDArray[np.float64]:
    """Normalised correlation of windows of 60 ms with what was one packet before them,
    above 2 kHz.
    """
    from scipy.signal import butter, sosfilt

    high = sosfilt(butter(6, 2_000, "highpass", fs=SAMPLE_RATE, output="sos"), pcm)
    lag, window = round(SAMPLE_RATE / FRAME_RATES_HZ[0]), 3 * SAMPLE_RATE // 50
    frames = np.lib.stride_tricks.sliding_window_view(high, window)
    now, before = frames[lag :: window // 2], frames[: len(frames) - lag : window // 2]
    energy = np.square(now).sum(1) * np.square(before).sum(1)
    alike: NDArray[np.float64] = (now * before).sum(1) / np.sqrt(energy + 1e-12)
    return alike


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
