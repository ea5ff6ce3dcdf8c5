"""WebRTC's voice activity detector, applied to the packets of a stream."""

from __future__ import annotations

import numpy as np

from streamcodec.errors import ConfigError
from streamcodec.units import Pcm

FRAME_MS = 10
RATES = (8_000, 16_000, 32_000, 48_000)
AGGRESSIVENESS = 2  # 0 to 3: how readily it takes sound for silence


class VoiceActivity:
    """Judges packets: one is active if any 10 ms of any channel hold voice."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        """`sample_rate` in Hz. Raises ConfigError for one that the detector does not know, or where
        the detector is not installed.
        """
        if sample_rate not in RATES:
            raise ConfigError(
                f"voice activity is detected at {', '.join(map(str, RATES))} Hz, "
                f"not at {sample_rate}"
            )
        try:
            import webrtcvad
        except ImportError as error:
            raise ConfigError(
                "DTX needs webrtcvad-wheels: pip install 'streamcodec[client]'"
            ) from error
        # One for each channel: in their mean, a voice of opposite signs would be silent.
        self._detectors = [webrtcvad.Vad(AGGRESSIVENESS) for _ in range(channels)]
        self._rate, self._frame = sample_rate, sample_rate * FRAME_MS // 1000

    def active(self, pcm: Pcm) -> bool:
        """Whether somebody speaks in pcm, float32 [T, channels], whole frames of 10 ms."""
        samples = (pcm * 32767).clip(-32768, 32767).astype(np.int16)
        # Judge every frame, also after a hit: a detector adapts to what it hears.
        judged = [
            detector.is_speech(channel[begin : begin + self._frame].tobytes(), self._rate)
            for detector, channel in zip(self._detectors, samples.T, strict=True)
            for begin in range(0, len(samples) - self._frame + 1, self._frame)
        ]
        return any(judged)
