"""What a session records: a file of each person, aligned by when things were said, and the mix."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fakes import ManualClock, fake_info
from streamcodec.errors import OutputError
from streamcodec.units import NS, Pcm
from streamcodec.wire.session import StreamStart
from streamcodec_client.audio import tracks
from streamcodec_client.audio.files import AudioFile
from streamcodec_client.audio.tracks import FAR_MS, LOOSE_MS
from streamcodec_client.live import recorder
from streamcodec_client.live.receiver import HeardBlock
from streamcodec_client.live.recorder import Recorder

RATE, MS = 16_000, NS // 1_000
BEGAN = datetime.datetime(2026, 11, 28, 0, 45, 7)


class Session:
    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.folder = folder
        self.clock = ManualClock(now_ms=0)
        self.recorder = Recorder(folder, RATE, self.clock, "Ada", self.said.append, BEGAN)

    def hears(
        self, name: str, level: float, at_ms: float | None, stream: int = 1, ms: int = 10
    ) -> None:
        self.hears_pcm(name, tone(level, ms), at_ms, stream)

    def hears_pcm(self, name: str, pcm: Pcm, at_ms: float | None, stream: int = 1) -> None:
        captured_ns = None if at_ms is None else round(at_ms * MS)
        start = StreamStart(stream, name, fake_info())
        self.recorder.heard([HeardBlock(start, pcm, captured_ns, False)])

    def written(self) -> dict[str, Pcm]:
        """Samples by the ends of files' names."""
        self.recorder.close()
        return {
            path.name.removeprefix("20261128-004507-"): soundfile.read(path, dtype="float32")[0]
            for path in sorted(self.folder.iterdir())
        }


def tone(level: float, ms: int) -> Pcm:
    return np.full((RATE * ms // 1_000, 1), level, np.float32)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made = Session(tmp_path / "calls" / "monday")
    yield made
    made.recorder.close()


def test_files_line_up_by_when_things_were_said_and_the_mix_has_all(session: Session) -> None:
    for n in range(20):
        session.recorder.said(tone(0.25, 10), 1_000 * MS + 10 * MS * n)
        session.hears("Bob", 0.5, 1_100 + 10 * n)
    written = session.written()
    assert list(written) == ["Ada.flac", "Bob.flac", "mix.flac"]
    ada, bob, mix = written.values()
    assert np.flatnonzero(ada)[[0, -1]].tolist() == [16_000, 19_199]
    assert np.flatnonzero(bob)[[0, -1]].tolist() == [17_600, 20_799]
    assert len(mix) == 20_800
    assert mix[16_500] == pytest.approx(0.25, abs=1e-4)
    assert mix[18_000] == pytest.approx(0.75, abs=1e-4)
    assert mix[20_000] == pytest.approx(0.5, abs=1e-4)
    assert not session.said


def test_what_is_played_a_little_faster_is_not_cut_and_pauses_are_kept(session: Session) -> None:
    for n in range(50):
        session.hears("Bob", 0.5, 9.5 * n)  # the buffer shrinks: 5 % faster
    for n in range(10):
        session.hears("Bob", 0.25, 2_000 + 10 * n)
    bob = session.written()["Bob.flac"]
    loud = np.flatnonzero(bob > 0.4)
    assert loud.tolist() == list(range(8_000))  # without a gap or a piece left out
    quiet = np.flatnonzero((bob > 0.2) & (bob < 0.3))
    assert quiet[0] == 32_000
    assert len(quiet) == 1_600


def test_what_is_heard_before_its_time_is_known_is_placed_with_the_rest(session: Session) -> None:
    session.clock.advance(300)
    for n in range(30):
        session.hears("Bob", 0.5, None if n < 20 else 100 + 10 * n)
        session.clock.advance(10)
    bob = session.written()["Bob.flac"]
    assert np.flatnonzero(bob).tolist() == list(range(1_600, 6_400))


@pytest.mark.parametrize("seconds", [1, 5])
def test_whose_time_is_never_known_is_placed_by_when_they_were_heard(
    session: Session, seconds: int
) -> None:
    session.clock.advance(300)
    for _ in range(100 * seconds):
        session.hears("Bob", 0.5, None)
        session.clock.advance(10)
    bob = session.written()["Bob.flac"]
    assert np.flatnonzero(bob).tolist() == list(range(4_800, 4_800 + seconds * RATE))


def test_after_a_stall_speech_is_whole_and_finds_its_place_where_it_is_quiet(
    session: Session,
) -> None:
    for n in range(30):
        session.hears("Bob", 0.5, 10 * n)
    for _ in range(20):
        session.hears("Bob", 0.25, 300)  # substitutes; what comes then is heard 200 ms later
    for n in range(30, 100):
        session.hears("Bob", 0.5, 10 * n)
    for n in range(100, 130):
        session.hears("Bob", 0.001, 10 * n)
    for n in range(130, 150):
        session.hears("Bob", 0.5, 10 * n)
    bob = session.written()["Bob.flac"]
    loud = bob > 0.2
    assert loud[: 1_200 * 16].all()
    assert loud.sum() == 1_400 * 16
    begins = np.flatnonzero(np.diff(loud.astype(int)) > 0)[-1] / 16
    assert abs(begins - 1_300) <= LOOSE_MS


def test_sound_that_lies_far_from_its_place_is_cut_once(session: Session) -> None:
    session.hears("Bob", 0.25, 0, ms=3_000)
    for n in range(200):
        session.hears("Bob", 0.25 + n / 1_000, 3_000 - FAR_MS - 10 + 10 * n)
    bob = session.written()["Bob.flac"]
    steps = np.flatnonzero(np.abs(np.diff(bob)) > 0.002)
    assert steps.tolist() == [48_000 - 1]
    assert len(bob) == pytest.approx((3_000 - FAR_MS - 10 + 2_000) * 16, abs=16)


def test_playing_much_faster_leaves_no_hole_in_speech(session: Session) -> None:
    for n in range(100):
        session.hears("Bob", 0.5, 12 * n)  # the playout delay shrinks by 200 ms
    assert (session.written()["Bob.flac"] > 0.4).all()


def test_what_was_captured_before_the_recording_is_not_in_it(session: Session) -> None:
    for n in range(30):
        session.hears("Bob", 0.5, 10 * n - 200)
    assert len(session.written()["Bob.flac"]) == 100 * 16


def test_of_many_files_few_are_open_at_once_and_the_mix_has_all(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MOST_OPEN", 2)
    opened, most = set[int](), 0

    class Counted(AudioFile):
        def __init__(self, path: Path) -> None:
            nonlocal most
            super().__init__(path)
            opened.add(id(self))
            most = max(most, len(opened))

        def close(self) -> None:
            super().close()
            opened.discard(id(self))

    monkeypatch.setattr(tracks, "AudioFile", Counted)
    monkeypatch.setattr(tracks, "MIX_AT_ONCE_S", 0.1)
    for n in range(12):
        session.hears("Bob", 0.125, 100 * n, stream=1)
        session.hears(f"Guest {n}", 0.25, 100 * n, stream=2 + n)
        session.clock.advance(100)
    session.hears("Guest 0", 0.25, 21_000, stream=2)
    written = session.written()
    assert len(written) == 15
    assert most <= 4  # those of a piece of the mix, and of the one before
    assert not opened
    assert len(written["Guest 11.flac"]) == 1_110 * 16
    assert len(written["Guest 0-2.flac"]) == len(written["mix.flac"]) == 21_010 * 16
    assert np.allclose(written["mix.flac"], sum_of(list(written.values())[:-1]), atol=1e-3)


def sum_of(parts: list[Pcm]) -> Pcm:
    total = np.zeros(max(map(len, parts)), np.float32)
    for part in parts:
        total[: len(part)] += part
    return total


def test_people_of_one_name_and_names_that_are_no_files(session: Session) -> None:
    session.hears("Bob", 0.5, 0, stream=1)
    session.hears("Bob", 0.25, 0, stream=2)
    session.hears("../../etc/x\\y: *", 0.5, 0, stream=3)
    session.hears("...", 0.5, 0, stream=4)
    session.hears("Zo\u00eb", 0.5, None, stream=5)
    session.hears("bob", 0.5, 0, stream=6)
    session.hears("mix", 0.5, 0, stream=7)
    session.hears(64 * "\U0001d400", 0.5, 0, stream=8)
    names = list(session.written())
    assert sorted(names) == sorted(
        [
            "Bob.flac",
            "Bob-2.flac",
            "_.._etc_x_y_ _.flac",
            "somebody.flac",
            "Zo\u00eb.flac",
            "bob-3.flac",
            "mix-2.flac",
            "mix.flac",
            37 * "\U0001d400" + ".flac",
        ]
    )


def stereo(left: float, right: float) -> Pcm:
    return np.concatenate([tone(left, 10), tone(right, 10)], 1)


def test_who_sends_two_channels_is_recorded_in_two_and_so_is_the_mix(session: Session) -> None:
    session.recorder.said(stereo(0.25, -0.25), 0)
    session.hears("Bob", 0.5, 0)
    session.hears_pcm("Eve", stereo(0.125, 0.0), 200, stream=2)
    written = session.written()
    assert {name: pcm.shape for name, pcm in written.items()} == {
        "Ada.flac": (160, 2),
        "Bob.flac": (160,),
        "Eve.flac": (3_360, 2),
        "mix.flac": (3_360, 2),
    }
    assert written["Ada.flac"][5] == pytest.approx([0.25, -0.25], abs=1e-4)
    assert written["mix.flac"][5] == pytest.approx([0.75, 0.25], abs=1e-4)
    assert written["mix.flac"][3_300] == pytest.approx([0.125, 0], abs=1e-4)


def test_who_comes_back_with_other_channels_has_another_file(session: Session) -> None:
    session.hears("Bob", 0.5, 0)
    session.hears_pcm("Bob", stereo(0.25, 0.125), 200)
    session.hears("Bob", 0.5, 400)
    written = session.written()
    assert written["Bob.flac"].shape == (6_560,)
    assert written["Bob-2.flac"].shape == (3_360, 2)
    assert written["Bob-2.flac"][-1] == pytest.approx([0.25, 0.125], abs=1e-4)


def test_it_is_switched_off_and_on(session: Session) -> None:
    session.hears("Bob", 0.5, 0)
    session.recorder.on = False
    session.hears("Bob", 0.5, 500)
    session.recorder.on = True
    session.hears("Bob", 0.5, 1_000)
    bob = session.written()["Bob.flac"]
    assert np.flatnonzero(bob).tolist() == [*range(160), *range(16_000, 16_160)]


def test_nothing_said_leaves_no_files(session: Session) -> None:
    assert session.written() == {}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        Session(tmp_path / "file" / "calls")


def test_a_disk_that_takes_no_more_stops_the_recording_and_not_the_call(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.folder.rmdir()
    session.hears("Bob", 0.5, 0)
    session.hears("Bob", 0.5, 10)
    session.recorder.close()
    (said,) = session.said
    assert said.startswith("recording has stopped: ")
    assert "Bob" in said
