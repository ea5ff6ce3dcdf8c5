"""Which announced streams this client can decode, and the player of each."""

from __future__ import annotations

import dataclasses

from streamcodec.errors import StreamcodecError
from streamcodec.live.adaptive import AdaptivePlayout, DelayBounds
from streamcodec.live.fixed import FixedPlayout
from streamcodec.live.playout import PlayoutBuffer
from streamcodec.wire.session import StreamInfo, StreamStart

from ..audio.stretch import Stretcher
from ..clock import Clock
from ..report.trace import Trace
from .codec import Codec
from .encryption import RoomKey
from .player import StreamPlayer


@dataclasses.dataclass(frozen=True)
class Admission:
    """Makes players for talkers. delay: a fixed playout delay in ms, or the bounds within which it
    adapts to the network. key: of the room, where what is said there is encrypted.
    """

    codec: Codec
    clock: Clock
    trace: Trace
    delay: float | DelayBounds
    key: RoomKey | None = None

    def check_delay(self) -> None:
        """Raises ConfigError for a playout delay outside its range, whatever the packet size."""
        for samples in reversed(self.codec.packet_sizes):  # the longest allow the least
            self._playout(samples)

    def player(self, talker: StreamStart) -> StreamPlayer:
        """Raises StreamcodecError for a stream that the loaded model cannot decode."""
        self.check(talker.info)
        info = self._played(talker.info)
        adapts = isinstance(self.delay, DelayBounds)
        return StreamPlayer(
            talker,
            info,
            self.codec.decoder(talker.info),
            self._playout(info.packet_samples),
            self.clock,
            self.trace,
            self.codec.overlap_samples,
            Stretcher(info.sample_rate, info.channels) if adapts else None,
            None if self.key is None else self.key.opener(info.key_id),
        )

    def check(self, info: StreamInfo) -> None:
        """Raises StreamcodecError for a stream that the loaded model cannot decode, and where only
        one of talker and listener encrypts.
        """
        if info.key_id and self.key is None:
            raise StreamcodecError("it is encrypted: see --passphrase-file")
        if self.key is not None and not info.key_id:
            raise StreamcodecError("it is not encrypted, and you have given a passphrase")
        if info.model != self.codec.hash:
            raise StreamcodecError(
                f"it was made with model {info.model}, and {self.codec.hash} is loaded; see --model"
            )
        if info.joint_stereo not in ("", self.codec.joint_stereo):
            raise StreamcodecError(
                f"its joint stereo was made with tables {info.joint_stereo}, "
                f"and {self.codec.joint_stereo or 'none'} are loaded; see --model"
            )
        widening = self.codec.widening
        rate = self.codec.sample_rate // widening
        sizes = [size // widening for size in self.codec.packet_sizes]
        if info.sample_rate != rate or info.packet_samples not in sizes:
            raise StreamcodecError(
                f"its packets have {info.packet_samples} samples at {info.sample_rate} Hz, "
                f"the model's {', '.join(map(str, sizes[:-1]))} or {sizes[-1]} at {rate}"
            )

    def _played(self, info: StreamInfo) -> StreamInfo:
        """The stream in samples as they are decoded, of which it has fewer on the wire."""
        widening = self.codec.widening
        return dataclasses.replace(
            info,
            sample_rate=info.sample_rate * widening,
            packet_samples=info.packet_samples * widening,
        )

    def _playout(self, packet_samples: int) -> PlayoutBuffer:
        samples_per_ms = self.codec.sample_rate / 1000
        packet_ms = packet_samples / samples_per_ms
        if isinstance(self.delay, DelayBounds):
            return AdaptivePlayout(
                packet_ms=packet_ms, samples_per_ms=samples_per_ms, bounds=self.delay
            )
        return FixedPlayout(packet_ms=packet_ms, target_ms=self.delay)
