"""A voice at the level that the codec is made for, and less of the noise around it: WebRTC's gain
control and noise suppression.
"""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np

from streamcodec.errors import ConfigError
from streamcodec.units import Pcm

FRAME_MS = 10  # what is processed at once
# Samples by which suppression delays, at the rates that WebRTC knows: its analysis window, and
# above 16 kHz the split into bands (measured).
SUPPRESSION_DELAY = {16_000: 96, 32_000: 196, 48_000: 334}
SUPPRESSION_DB = (6, 12, 18, 21)
# WebRTC's controller begins at +15 dB and never goes below 0. What it is given is made fainter by
# as much: then it begins by changing nothing, and turns a loud voice down.
ROOM_DOWN_DB = 15.0
HEADROOM_DB = 12.0  # speech ends at about -22 dBFS: what the codec learned is at -23
DB_PER_SECOND = 12.0  # -40 dBFS is right within 3 s; 6, as in a browser, takes 5
INSTALL = "pip install 'streamcodec[client]'"


@dataclasses.dataclass(frozen=True, slots=True)
class VoiceSettings:
    """suppression_db: by how much noise is turned down, one of SUPPRESSION_DB; 0: not at all."""

    gain_control: bool = False
    suppression_db: int = 0


def missing(sample_rate: int) -> str | None:
    """Why a voice at this rate cannot be processed here; None where it can be."""
    if sample_rate not in SUPPRESSION_DELAY:
        known = ", ".join(map(str, SUPPRESSION_DELAY))
        return f"gain control and noise suppression work at {known} Hz, not at {sample_rate}"
    if importlib.util.find_spec("pywebrtc_audio") is None:
        return f"gain control and noise suppression need pywebrtc-audio: {INSTALL}"
    return None


class VoiceProcessor:
    """Changes no sample's place in time but for `delay_s`. Not thread-safe."""

    def __init__(self, sample_rate: int, channels: int, settings: VoiceSettings) -> None:
        """`sample_rate` in Hz. Raises ConfigError for one that WebRTC does not know, or where the
        library is not installed.
        """
        if (reason := missing(sample_rate)) is not None:
            raise ConfigError(reason)
        from pywebrtc_audio import GainController, NoiseSuppressor

        self._frame = sample_rate * FRAME_MS // 1000
        self._waiting = np.zeros((0, channels), np.float32)
        self._gain = self._suppressor = None
        self.delay_s = 0.0
        if settings.suppression_db:
            level = SUPPRESSION_DB.index(settings.suppression_db)
            self._suppressor = NoiseSuppressor(sample_rate, channels, level)
            self.delay_s = SUPPRESSION_DELAY[sample_rate] / sample_rate
        if settings.gain_control:
            self._gain = GainController(
                sample_rate,
                channels,
                headroom_db=HEADROOM_DB,
                max_gain_change_db_per_second=DB_PER_SECOND,
            )

    @property
    def waiting(self) -> int:
        """Samples that were given and wait for their frame to be full, less than FRAME_MS."""
        return len(self._waiting)

    def process(self, pcm: Pcm) -> Pcm:
        """float32 [T, C], any T -> the frames that it completes; the rest waits."""
        given: Pcm = np.concatenate([self._waiting, pcm], dtype=np.float32)
        whole = len(given) // self._frame * self._frame
        self._waiting = given[whole:]
        if not whole:
            return given[:0]
        frames = given[:whole].reshape(-1)  # interleaved
        if self._suppressor is not None:
            frames = self._suppressor.process(frames)
        if self._gain is not None:
            frames = self._gain.process(frames * np.float32(10 ** (-ROOM_DOWN_DB / 20)))
        return frames.reshape(whole, -1)

    def flush(self, pcm: Pcm) -> Pcm:
        """`process`, and what still waits; at the end of a source."""
        length = len(self._waiting) + len(pcm)
        padding = np.zeros((-length % self._frame, pcm.shape[1]), np.float32)
        return self.process(np.concatenate([pcm, padding]))[:length]

    def drop_waiting(self) -> None:
        """Forgets what waits for its frame to be full. What it knows of the voice it keeps."""
        self._waiting = self._waiting[:0]
