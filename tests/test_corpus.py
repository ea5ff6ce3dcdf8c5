"""A folder of audio as an array, and the batches drawn from it."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import voice
from streamcodec.errors import AudioError
from streamcodec_training.corpus import audio_files, load_corpus, read_mono, transform_start
from streamcodec_training.sampler import (
    AUGMENTATION,
    NO_AUGMENTATION,
    Augmentation,
    SegmentSampler,
)
from training_runs import make_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


def sampler(
    corpus: Path, tmp_path: Path, seed: int = 0, augmentation: Augmentation = AUGMENTATION
) -> SegmentSampler:
    """Batches of five segments of 0.4 s; the speech is the background noise as well."""
    speech = load_corpus(corpus, 16_000, tmp_path, progress=False)
    rng = np.random.default_rng(seed)
    return SegmentSampler(speech, speech, 16_000, 6_400, 320, 5, augmentation, rng)


def test_any_folder_becomes_one_array(corpus: Path, tmp_path: Path) -> None:
    pcm = load_corpus(corpus, 16_000, tmp_path, progress=False)
    assert pcm.dtype == np.int16
    assert len(pcm) == pytest.approx(7 * 16_000, abs=4)


def test_what_cannot_be_read_is_named_once_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "with-junk"
    (folder / "folder.wav").mkdir(parents=True)
    soundfile.write(folder / "folder.wav" / "good.flac", voice(1), 16_000)
    (folder / "text.wav").write_text("no audio")
    (folder / ".hidden.wav").write_text("no audio")
    whole = (folder / "folder.wav" / "good.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "empty.wav", np.zeros(0), 16_000)
    broken = voice(1)
    broken[7] = np.nan
    soundfile.write(folder / "nan.wav", broken, 16_000, subtype="FLOAT")
    soundfile.write(folder / "unscaled.wav", 32_768 * voice(1), 16_000, subtype="FLOAT")
    (folder / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(folder / "pipe.wav")

    for _ in range(2):  # the second time from the cache
        assert len(load_corpus(folder, 16_000, tmp_path / "cache", progress=False)) == 16_000

    said = capsys.readouterr().err.splitlines()
    bad = (
        *("cut.flac", "dangling.wav", "empty.wav", "nan.wav"),
        *("pipe.wav", "text.wav", "unscaled.wav"),
    )
    assert len(said) == len(bad) + 1
    for line, name in zip(said, bad, strict=False):
        assert line.startswith(f"left out: cannot read {folder / name} as audio: ")
    assert said[-1] == f"left out 7 of 8 files below {folder}"


def test_a_name_that_is_not_utf_8_is_read_and_can_be_printed(tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    soundfile.write(folder / "good.wav", voice(1), 16_000)
    try:
        os.rename(folder / "good.wav", os.fsencode(folder) + b"/caf\xe9.wav")
    except OSError:
        pytest.skip("names on this disk are UTF-8")
    assert len(load_corpus(folder, 16_000, tmp_path / "cache", progress=False)) == 16_000
    file = audio_files(folder)[0]
    file.write_text("no audio")
    with pytest.raises(AudioError, match=r"cannot read .*caf\\udce9\.wav") as refused:
        read_mono(file, 16_000)
    str(refused.value).encode()


def test_linked_folders_are_searched_once_and_without_end(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "voices"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "up").symlink_to(folder)
    (folder / "elsewhere").symlink_to(corpus)
    (folder / "elsewhere-again").symlink_to(corpus)
    found = [file.relative_to(folder) for file in audio_files(folder)]
    assert found == [Path("elsewhere/a.wav"), Path("elsewhere/sub/b.flac")]


def test_nothing_but_silence_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "silent"
    folder.mkdir()
    for name, level in (("digital", 0.0), ("dither", 1 / 32_768)):
        pcm = level * np.sign(np.random.default_rng(0).standard_normal(16_000))
        soundfile.write(folder / f"{name}.wav", pcm, 16_000)
    with pytest.raises(AudioError, match=r"nothing but silence below .*silent"):
        load_corpus(folder, 16_000, tmp_path / "cache", progress=False)
    soundfile.write(folder / "voice.wav", voice(1), 16_000)
    assert len(load_corpus(folder, 16_000, tmp_path / "cache", progress=False)) == 48_000


def test_a_word_in_hours_of_silence_starts_no_transform() -> None:
    speech = np.zeros(100_000, np.int16)
    speech[-1] = 1_000
    with pytest.raises(AudioError, match="next to nothing but silence: of 50 places"):
        transform_start(speech, 64, np.random.default_rng(0), 50)


def test_a_damaged_cache_is_made_anew(corpus: Path, tmp_path: Path) -> None:
    before = np.array(load_corpus(corpus, 16_000, tmp_path, progress=False))
    (cache,) = tmp_path.iterdir()
    cache.write_bytes(cache.read_bytes()[:1_000])
    assert np.array_equal(load_corpus(corpus, 16_000, tmp_path, progress=False), before)


def test_a_folder_without_audio_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"no audio below .*\.flac"):
        load_corpus(tmp_path, 16_000, tmp_path / "cache")


def test_batches_are_seeded_bounded_and_of_the_right_shape(corpus: Path, tmp_path: Path) -> None:
    first = next(iter(sampler(corpus, tmp_path, 7)))
    again = next(iter(sampler(corpus, tmp_path, 7)))
    other = next(iter(sampler(corpus, tmp_path, 8)))
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    batches = iter(sampler(corpus, tmp_path, 1))
    lost = 0
    for _ in range(40):
        x, mask = next(batches)
        assert x.shape == (5, 6_400)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        assert np.abs(x).max() <= 1
        assert mask.shape == (5, 20)
        lost += mask.sum()
    assert 0 < lost < 0.1 * 40 * 100


def test_without_augmentation_segments_are_the_recording(corpus: Path, tmp_path: Path) -> None:
    plain = sampler(corpus, tmp_path, 3, NO_AUGMENTATION)
    x, mask = next(iter(plain))
    assert not mask.any()
    whole = plain.speech.astype(np.float32) / 32_768
    windows = np.lib.stride_tricks.sliding_window_view(whole, 64)
    assert any(np.abs(windows - x[0, :64]).max(1) < 1e-6)


def test_too_little_audio_says_how_much_is_needed() -> None:
    with pytest.raises(AudioError, match=r"more than 0\.40 s of audio, got 0\.06 s"):
        SegmentSampler(
            np.zeros(1000, np.int16),
            None,
            16_000,
            6_400,
            320,
            1,
            AUGMENTATION,
            np.random.default_rng(0),
        )


def test_sound_of_one_and_the_same_power_starts_a_transform() -> None:
    speech = np.tile(np.array([20, -20], np.int16), 1_000)
    basis, _ = transform_start(speech, 64, np.random.default_rng(0), 50)
    assert np.isfinite(basis).all()


def test_the_transform_start_is_orthonormal_and_sorted(corpus: Path, tmp_path: Path) -> None:
    basis, variance = transform_start(
        load_corpus(corpus, 16_000, tmp_path, progress=False), 64, np.random.default_rng(0), 2000
    )
    assert np.allclose(basis @ basis.T, np.eye(64), atol=1e-4)
    assert (np.diff(variance) <= 0).all()
