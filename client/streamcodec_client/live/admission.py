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
from .player import StreamPlayer


@dataclasses.dataclass(frozen=True)
class Admission:
    """Makes players for talkers. delay: a fixed playout delay in ms, or the bounds within which it
    adapts to the network.
    """

    codec: Codec
    clock: Clock
    trace: Trace
    delay: float | DelayBounds

    def check_delay(self) -> None:
        """Raises ConfigError for a playout delay outside its range, whatever the packet size."""
        for samples in reversed(self.codec.packet_sizes):  # the longest allow the least
            self._playout(samples)

    def player(self, talker: StreamStart) -> StreamPlayer:
        """Raises StreamcodecError for a stream that the loaded model cannot decode."""
        info = talker.info
        self.check(info)
        adapts = isinstance(self.delay, DelayBounds)
        return StreamPlayer(
            talker,
            self.codec.decoder(info),
            self._playout(info.packet_samples),
            self.clock,
            self.trace,
            self.codec.overlap_samples,
            Stretcher(info.sample_rate, info.channels) if adapts else None,
        )

    def check(self, info: StreamInfo) -> None:
        """Raises StreamcodecError for a stream that the loaded model cannot decode."""
        if info.model != self.codec.hash:
            raise StreamcodecError(
                f"it was made with model {info.model}, and {self.codec.hash} is loaded; see --model"
            )
        rate, sizes = self.codec.sample_rate, self.codec.packet_sizes
        if info.sample_rate != rate or info.packet_samples not in sizes:
            raise StreamcodecError(
                f"its packets have {info.packet_samples} samples at {info.sample_rate} Hz, "
                f"the model's {', '.join(map(str, sizes[:-1]))} or {sizes[-1]} at {rate}"
            )

    def _playout(self, packet_samples: int) -> PlayoutBuffer:
        samples_per_ms = self.codec.sample_rate / 1000
        packet_ms = packet_samples / samples_per_ms
        if isinstance(self.delay, DelayBounds):
            return AdaptivePlayout(
                packet_ms=packet_ms, samples_per_ms=samples_per_ms, bounds=self.delay
            )
        return FixedPlayout(packet_ms=packet_ms, target_ms=self.delay)
