"""DTX for packets: each is judged by the samples that it was encoded from."""

from __future__ import annotations

import numpy as np

from streamcodec.config import CodecConfig
from streamcodec.live.dtx import DtxGate
from streamcodec.units import Pcm
from streamcodec.wire.packet import Flags

from ..audio.voice_activity import VoiceActivity
from .outgoing import Outgoing


class SpeechGate:
    """Chooses the packets that are sent: those with speech, and now and then one that describes the
    background.
    """

    def __init__(self, activity: VoiceActivity, config: CodecConfig) -> None:
        """config: of the encoder."""
        self._activity, self._packet_samples = activity, config.packet_samples
        self._gate: DtxGate[Outgoing] = DtxGate(config.packet_ms)
        # samples [T, C] that the encoder has taken and has made no packet of yet
        self._pending: Pcm = np.zeros((0, config.channels), np.float32)
        self.left_out = 0  # packets

    def hear(self, pcm: Pcm) -> None:
        """Samples [T, C] that go into the encoder."""
        self._pending = np.concatenate([self._pending, pcm])

    def choose(self, packet: Outgoing) -> list[tuple[Outgoing, Flags]]:
        """The encoder's next packet -> the packets to be sent now, each with its flags."""
        heard, self._pending = np.split(self._pending, [self._packet_samples])
        sent = self._gate.push(packet, self._activity.active(heard))
        self.left_out += 1 - len(sent)
        return sent

    def reset(self) -> None:
        """The encoder has dropped what waited there."""
        self._pending = self._pending[:0]
        self._gate.reset()
