"""Fits the tables of the high band (streamcodec.coding.high_band) to recordings: usual levels, and
the codebooks of how levels differ from what is expected, the last for the second channel of joint
stereo. Minutes on one core; no gradient.

Shapes: N pieces of recordings, P packets, S segments, B bands.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import safetensors.numpy
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from streamcodec.coding.band_levels import LevelQuantiser, errors_of
from streamcodec.coding.high_band import NumpyHighBand
from streamcodec.errors import AudioError
from streamcodec.tables import (
    HIGH_BAND_ENTRIES,
    HIGH_BAND_FACTOR,
    HIGH_BAND_FFT,
    HIGH_BAND_REFINED,
    HIGH_BAND_SEGMENTS,
    HIGH_BAND_STAGES,
    HighBandTables,
)
from streamcodec_models.catalogue import HIGH_BAND_FILE, describe

from .corpus import audio_files, read_mono
from .steady_noise import steady_noise
from .stereo_pieces import stereo_pieces

Floats = NDArray[np.float32]
# About as wide as the ear's own bands; the lowest begins where the core's filter falls.
EDGES_HZ = (
    *(7_600, 8_400, 9_200, 10_000, 10_900, 11_800, 12_700),
    *(13_700, 14_800, 16_000, 17_300, 18_600, 20_000),
)
LOWEST_NATIVE_RATE = 40_000  # Hz: below it a recording says nothing of 20 kHz
TAPS, CUT_HZ, KAISER_BETA = 61, 7_600, 5.0
NOISE_SAMPLES = 1 << 15
# As `steady_noise` takes them. Narrower than the core's: here all sound is noise.
NOISE_WINDOWS = ((128, 1_000.0), (256, 250.0), (400, 80.0), (512, 60.0))
PIECE = 200  # packets
DECAY = 0.7  # more would be a little cheaper, and spread a loss further
OPEN_ROUNDS, CLOSED_ROUNDS = 10, 8
# Of joint stereo: shares of what the first channel's entries add that entries of the second add,
# too, as many entries with each; the second half of them is refined.
SHARES = (1.0, 0.5, 0.5, 0.5)
STEREO_PIECES, STEREO_ROUNDS = 400, 10  # in two channels
# For so many of these there is one more that sounds in the second channel alone: the first has
# another piece at this amplitude.
EVERY_ALONE, FAINT = 3, 0.003
FEWEST = 8  # levels that an entry must describe, or it begins anew
OFFSET_ERROR_DB = 3.0  # of the packet before, until the quantiser is there that makes it


def fit_high_band(folders: Iterable[Path], model: Path, seed: int = 0) -> Path:
    """Writes HIGH_BAND_FILE into the folder of `model`, fitted to what is recorded at 40 kHz or
    more below `folders`. Raises AudioError where that is less than a piece, ModelError.
    """
    config = describe(model).config
    rate = config.sample_rate * HIGH_BAND_FACTOR
    rng = np.random.default_rng(seed)
    tables = _blank(rate)
    band = NumpyHighBand(tables, config.packet, config.overlap)
    folders = list(folders)
    levels = _levels_of(folders, band, rate)
    tables = dataclasses.replace(tables, mean=levels.mean((0, 1, 2)))
    levels -= tables.mean
    tables = dataclasses.replace(tables, codebooks=_codebooks(levels, tables, rng))
    tables = with_second_codebook(tables, folders, band, rate, rng)
    path = model / HIGH_BAND_FILE
    path.write_bytes(safetensors.numpy.save(named_tables(tables)))
    return path


def named_tables(tables: HighBandTables) -> dict[str, NDArray[np.generic]]:
    """By the names of their tensors; the noise as 8-bit integers."""
    named = {f.name: getattr(tables, f.name) for f in dataclasses.fields(tables)}
    return {**named, "noise": tables.noise.astype(np.int8)}


def _blank(rate: int) -> HighBandTables:
    """What is not fitted."""
    at = np.arange(TAPS) - TAPS // 2
    low_pass = np.sinc(2 * CUT_HZ / rate * at) * np.kaiser(TAPS, KAISER_BETA)
    noise = steady_noise(NOISE_SAMPLES, rate, NOISE_WINDOWS).numpy()
    bands = len(EDGES_HZ) - 1
    books = (HIGH_BAND_STAGES, HIGH_BAND_ENTRIES, HIGH_BAND_SEGMENTS, bands)
    return HighBandTables(
        edges=np.rint(np.array(EDGES_HZ) * HIGH_BAND_FFT / rate).astype(np.int32),
        low_pass=(low_pass / low_pass.sum()).astype(np.float32),
        mean=np.zeros(bands, np.float32),
        decay=np.array([DECAY], np.float32),
        codebooks=np.zeros(books, np.float32),
        noise=np.rint(noise * 127 / np.abs(noise).max()).astype(np.int32),
        second_codebook=np.zeros(books[1:], np.float32),
        second_share=np.repeat(SHARES, HIGH_BAND_ENTRIES // len(SHARES)).astype(np.float32),
    )


def _levels_of(folders: Iterable[Path], band: NumpyHighBand, rate: int) -> Floats:
    """-> [N, PIECE, S, B] in dB."""
    files = [file for folder in folders for file in audio_files(folder)]
    pieces = []
    for file in tqdm(files, desc="levels", unit="file"):
        try:
            if soundfile.info(os.fspath(file)).samplerate < LOWEST_NATIVE_RATE:
                continue
            pcm = read_mono(file, rate)
        except (AudioError, soundfile.LibsndfileError) as error:
            tqdm.write(f"left out: {error}")
            continue
        pieces += [_levels_of_piece(piece, band) for piece in _pieces(pcm, band)]
    if not pieces:
        raise AudioError(
            f"no recordings of {LOWEST_NATIVE_RATE} Hz or more, {PIECE} packets or longer"
        )
    return np.stack(pieces)


def _pieces(pcm: Floats, band: NumpyHighBand) -> list[Floats]:
    size = PIECE * band.packet
    padded = np.concatenate([np.zeros(band.lag, np.float32), pcm])
    return [padded[i : i + size + band.lag] for i in range(0, len(pcm) - size + 1, size)]


def _levels_of_piece(piece: Floats, band: NumpyHighBand) -> Floats:
    heard = band.packet + band.lag
    return np.stack([band.levels(piece[n * band.packet :][:heard]) for n in range(PIECE)])


def _codebooks(levels: Floats, tables: HighBandTables, rng: np.random.Generator) -> Floats:
    """levels [N, P, S, B] above usual -> codebooks: first by k-means of what would be coded if the
    packet before had been told nearly right, then of what is coded, around what is told.
    """
    quantiser = LevelQuantiser(tables)
    weights = _flat(quantiser.weights(levels))
    before = np.concatenate([np.zeros_like(levels[:, :1]), levels[:, :-1]], 1).mean(
        2, keepdims=True
    )
    before = before + rng.normal(0, OFFSET_ERROR_DB, before.shape).astype(np.float32)
    rest = _flat(levels - tables.decay * before)
    books = []
    for stage in range(HIGH_BAND_STAGES):
        book = rest[rng.choice(len(rest), HIGH_BAND_ENTRIES, replace=False)]
        for _ in tqdm(range(OPEN_ROUNDS), desc=f"codebook {stage + 1}", unit="round"):
            book, entries = _moved(book, rest, weights, rng)
        books.append(book)
        rest = rest - book[entries]
    shape = tables.codebooks.shape
    for _ in tqdm(range(CLOSED_ROUNDS), desc="both codebooks", unit="round"):
        tables = dataclasses.replace(tables, codebooks=np.stack(books).reshape(shape))
        wanted, entries = _told(levels, tables)
        for stage in range(HIGH_BAND_STAGES):
            other = books[1 - stage][entries[:, 1 - stage]]
            centres = _centres(books[stage], wanted - other, weights, entries[:, stage], rng)
            books[stage] = 0.5 * (books[stage] + centres)  # what is told moves with them
    codebooks: Floats = np.stack(books).reshape(shape).astype(np.float32)
    return codebooks


def _told(levels: Floats, tables: HighBandTables) -> tuple[Floats, NDArray[np.intp]]:
    """-> what was to be added to the levels that were expected [N * P, S * B], and the entries that
    were taken for it, [N * P, 2].
    """
    quantiser = LevelQuantiser(tables)
    offset = np.zeros_like(levels[:, 0, 0])
    wanted, entries = np.empty_like(levels), np.empty((*levels.shape[:2], 2), np.intp)
    for n in range(levels.shape[1]):
        wanted[:, n] = levels[:, n] - quantiser.expected(offset)
        entries[:, n] = quantiser.entries(levels[:, n], offset)
        offset = quantiser.levels(entries[:, n], offset).mean(1)
    return _flat(wanted), entries.reshape(-1, 2)


def with_second_codebook(
    tables: HighBandTables,
    folders: Iterable[Path],
    band: NumpyHighBand,
    rate: int,
    rng: np.random.Generator,
) -> HighBandTables:
    """The last one fitted, to what is told with the others. band: whose levels are usual ones.
    Raises AudioError.
    """
    seconds = PIECE * band.packet / rate
    pieces = stereo_pieces(folders, rate, STEREO_PIECES, seconds, rng, LOWEST_NATIVE_RATE)
    faint = [FAINT * piece[:, 0] for piece in pieces[::EVERY_ALONE]]
    only_second = zip(faint, (piece[:, 1] for piece in pieces[1::EVERY_ALONE]), strict=False)
    pieces += [np.stack(pair, 1) for pair in only_second]
    padded = (np.concatenate([np.zeros((band.lag, 2), np.float32), piece]) for piece in pieces)
    levels = np.stack([[_levels_of_piece(c, band) for c in piece.T] for piece in padded])
    first, second = levels.swapaxes(0, 1) - tables.mean
    quantiser, added = LevelQuantiser(tables), _added(first, tables)
    before = np.concatenate([np.zeros_like(second[:, :1]), second[:, :-1]], 1)
    rest = _flat(second - tables.decay * before.mean(2, keepdims=True))
    weights = _flat(quantiser.weights(second))
    book = np.empty_like(_flat(tables.second_codebook))
    refined = np.arange(HIGH_BAND_ENTRIES) >= HIGH_BAND_REFINED
    for alone, share in itertools.product((True, False), np.unique(tables.second_share)):
        those = (refined != alone) & (tables.second_share == share)
        wanted = rest - share * _flat(added)
        part = wanted[rng.choice(len(wanted), those.sum(), replace=False)]
        for _ in range(OPEN_ROUNDS if len(part) else 0):
            part, _ = _moved(part, wanted, weights, rng)
        book[those] = part
    for _ in tqdm(range(STEREO_ROUNDS), desc="second channels", unit="round"):
        tables = dataclasses.replace(tables, second_codebook=_shaped(book, tables))
        wanted, entries = _told_of_second(second, added, tables)
        book = 0.5 * (book + _centres(book, wanted, weights, entries, rng))
    return dataclasses.replace(tables, second_codebook=_shaped(book, tables))


def _shaped(book: Floats, tables: HighBandTables) -> Floats:
    """Entries [entries, S * B] as tables have them."""
    return book.reshape(tables.second_codebook.shape).astype(np.float32)


def _added(levels: Floats, tables: HighBandTables) -> Floats:
    """levels [N, P, S, B] of first channels -> what their entries add, of the same shape."""
    _, entries = _told(levels, tables)
    added = LevelQuantiser(tables).added(entries)
    return added.reshape(levels.shape)


def _told_of_second(
    levels: Floats, added: Floats, tables: HighBandTables
) -> tuple[Floats, NDArray[np.intp]]:
    """As `_told`, of second channels: -> what entries were to add besides their share of what the
    first channel's add, and the entries [N * P].
    """
    quantiser = LevelQuantiser(tables)
    offset = np.zeros_like(levels[:, 0, 0])
    wanted, entries = np.empty_like(levels), np.empty(levels.shape[:2], np.intp)
    for n in range(levels.shape[1]):
        both = quantiser.second_entries(levels[:, n], offset, added[:, n])
        told = quantiser.second_levels(both, offset, added[:, n])
        entries[:, n] = both[:, 0]
        wanted[:, n] = levels[:, n] - told + tables.second_codebook[entries[:, n]]
        offset = told.mean(1)
    return _flat(wanted), entries.ravel()


def _moved(
    book: Floats, wanted: Floats, weights: Floats, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.intp]]:
    """A round of k-means -> the book, and the entry that was nearest to each."""
    at_once = 1 << 15
    parts = [slice(i, i + at_once) for i in range(0, len(wanted), at_once)]
    entries = np.concatenate([errors_of(wanted[p], weights[p], book).argmin(1) for p in parts])
    return _centres(book, wanted, weights, entries, rng), entries


def _centres(
    book: Floats,
    wanted: Floats,
    weights: Floats,
    entries: NDArray[np.intp],
    rng: np.random.Generator,
) -> Floats:
    """The weighted mean of what each entry describes; one that describes little begins anew."""
    sums, shares = np.zeros((2, *book.shape))
    np.add.at(sums, entries, weights * wanted)
    np.add.at(shares, entries, weights)
    few = np.bincount(entries, minlength=len(book)) < FEWEST
    centres: Floats = (sums / np.maximum(shares, 1e-6)).astype(np.float32)
    centres[few] = wanted[rng.integers(len(wanted), size=int(few.sum()))] / 2
    return centres


def _flat(levels: Floats) -> Floats:
    """[..., S, B] -> [rows, S * B]."""
    return levels.reshape(-1, levels.shape[-2] * levels.shape[-1])
