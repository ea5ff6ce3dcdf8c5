"""What is heard of a talker while packets are missing: the decoder's own concealment, which fades
into comfort noise, which fades to silence when nothing comes any more. Sans-I/O.
"""

from __future__ import annotations

import numpy as np

from ..units import Pcm
from ..wire.packet import Flags
from .comfort_noise import ComfortNoise

SPLICE_MS = 2.5  # a fade this long hides the step where two pieces of sound meet
# The decoder's concealment sounds natural for a while; between these two durations of loss the
# comfort noise takes its place.
CONTINUED_MS, BACKGROUND_MS = 60.0, 160.0
# A line that has been dead for DEAD_MS fades to silence over FADE_OUT_MS: noise that went on would
# sound like a talker who is merely quiet.
DEAD_MS, FADE_OUT_MS = 3_000.0, 1_000.0


class LossFade:
    """Conceals the losses of one talker, and splices sound that does not continue what was heard.

    Give it every packet in the order of playing: `packet` for a decoded one, `concealed` for the
    decoder's substitute of a missing one. Where there is neither, `background` fills the time of an
    announced pause or of a loss, and `silence` ends the talker. `heard` tells it what was played in
    the end, so that the next splice starts from there.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        packet_samples: int,
        rng: np.random.Generator | None = None,
    ) -> None:
        """sample_rate in Hz; `rng` draws the comfort noise."""
        self._samples_per_ms = sample_rate / 1000
        self._packet_ms = packet_samples * 1000 / sample_rate
        self._noise = ComfortNoise(sample_rate, channels, rng)
        self._noise_share = 0.0  # of comfort noise in what is heard, 0 to 1
        self._last_sample = np.zeros(channels, np.float32)
        self._paused = False  # the talker announced that it sends nothing for now (DTX)
        self._begun = False  # there was a packet: what is missing now is a loss
        self._lost_ms = 0.0

    @property
    def lost_ms(self) -> float:
        """For how long packets have been missing; 0 once one is played again."""
        return self._lost_ms

    @property
    def continues(self) -> bool:
        """The loss is short enough for the decoder's concealment to be heard."""
        return self._lost_ms > 0 and self._noise_share < 1

    @property
    def silent(self) -> bool:
        """What was heard last ended in silence: stopping here makes no click."""
        return not self._last_sample.any()

    def packet(self, pcm: Pcm, flags: Flags, *, restarts: bool, substitute: bool = False) -> Pcm:
        """A decoded packet [T, C] -> what is heard in its place, [T, C].

        `restarts`: the decoder was reset before it. `substitute`: its payload was broken, and `pcm`
        is the decoder's concealment.
        """
        was_paused, self._paused = self._paused, Flags.DTX in flags
        if not substitute:
            self._noise.learn(pcm, voice=Flags.VOICE in flags)
        if self._paused:
            # The packet describes the background; the same noise goes on through the pause.
            pcm = self._noise.make(len(pcm))
        if restarts or self._paused != was_paused:
            pcm = self._spliced(pcm)
        if substitute:
            return self.concealed(pcm)
        self._begun, self._lost_ms = True, 0.0
        return self._crossfaded(pcm, 0.0, min(len(pcm), round(SPLICE_MS * self._samples_per_ms)))

    def concealed(self, pcm: Pcm) -> Pcm:
        """The decoder's substitute for a missing packet [T, C] -> the same, faded into comfort
        noise by how long the loss has lasted.
        """
        self._begun = True
        self._lost_ms += self._packet_ms
        share = (self._lost_ms - CONTINUED_MS) / (BACKGROUND_MS - CONTINUED_MS)
        # Behind a pause there is noise already, and nothing of before to go on with.
        return self._crossfaded(pcm, min(1.0, max(self._noise_share, share)), len(pcm))

    def background(self, samples: int) -> Pcm:
        """[samples, C] of comfort noise, for a pause or a loss that outlasts the concealment."""
        pcm = self._noise.make(samples, among_speech=not self._paused)
        if not self._paused and self._begun:
            if self._noise_share < 1:
                pcm, self._noise_share = self._spliced(pcm), 1.0
            self._lost_ms += samples / self._samples_per_ms
            pcm = pcm * np.float32(min(1.0, max(0.0, 1 - (self._lost_ms - DEAD_MS) / FADE_OUT_MS)))
        self.heard(pcm)
        return pcm

    def silence(self, samples: int) -> Pcm:
        """[samples, C] of silence, into which what was heard last fades."""
        pcm = self._spliced(np.zeros((samples, len(self._last_sample)), np.float32))
        self._last_sample = np.zeros_like(self._last_sample)
        return pcm

    def heard(self, pcm: Pcm) -> None:
        """[T, C], any T: what the sink was given of the last packet."""
        if len(pcm):
            self._last_sample = pcm[-1]

    def end_pause(self) -> None:
        """The announced pause is over; what is missing from now on counts as lost."""
        self._paused = False

    def forget_background(self) -> None:
        """The talker sends digital silence: there is no background to imitate."""
        self._noise.reset()

    def _crossfaded(self, pcm: Pcm, share: float, samples: int) -> Pcm:
        """Moves the share of comfort noise to `share`, over `samples`."""
        before, self._noise_share = self._noise_share, share
        if not before and not share:
            return pcm
        shares = np.full((len(pcm), 1), share, np.float32)
        shares[:samples, 0] = np.linspace(before, share, samples, endpoint=False)
        return pcm * (1 - shares) + self._noise.make(len(pcm), among_speech=True) * shares

    def _spliced(self, pcm: Pcm) -> Pcm:
        """Adds the last sample that was heard, fading out over SPLICE_MS: no step, no click."""
        samples = min(len(pcm), round(SPLICE_MS * self._samples_per_ms))
        fade = np.linspace(1, 0, samples, endpoint=False, dtype=np.float32)[:, None]
        return np.concatenate([pcm[:samples] + fade * self._last_sample, pcm[samples:]])
