"""Where the samples of a stream lie in time. Knows no clock: times are arguments."""

from __future__ import annotations

from streamcodec.units import NS

from ..audio.blocks import Block


class CaptureTimeline:
    """Blocks of a source, with their gaps, on the timeline of the stream.

    A stream position counts samples at the stream's rate from the start of the source; samples that
    were lost, and pauses, count as well.
    """

    def __init__(self, source_rate: int, stream_rate: int, delay_s: float) -> None:
        """Rates in Hz. `delay_s`: by how much the resampler's output is older than its input."""
        self._source_rate, self._stream_rate = source_rate, stream_rate
        self._delay_ns = round(delay_s * NS)
        self._expected = 0  # source position of the next block, if nothing is missing before it
        self._filled = False  # `fill_pause` has counted what comes before the next block
        self._ahead = 0  # samples by which the stream is ahead of time, since a pause was filled
        self._captured_ns = 0  # when the newest sample was captured
        self.end = 0  # stream position behind the newest sample
        self.lost_samples = 0  # at the source's rate

    def skip_gap(self, block: Block) -> int | None:
        """Skips what is missing before `block`, which the source lost or which was a pause -> the
        samples skipped at the stream's rate, 0 where `fill_pause` has covered them; None where the
        block follows the last one without a gap.
        """
        missing = block.position - self._expected
        self._expected = block.position + len(block.pcm)
        if missing > 0 and not block.after_pause:
            self.lost_samples += missing
        gap = missing * self._stream_rate // self._source_rate
        if self._filled:
            # The source may see no pause where one was announced: then its clock decides.
            self._filled = False
            length_ns = len(block.pcm) * NS // self._source_rate
            begin_ns = block.captured_ns - length_ns
            gap = (begin_ns - self._captured_ns) * self._stream_rate // NS
        elif missing <= 0:
            return None
        skipped = max(0, gap - self._ahead)
        self._ahead = max(0, self._ahead - gap)
        self.end += skipped
        return skipped

    def add(self, samples: int, captured_ns: int) -> int:
        """Resampled samples of a block whose last one was captured at `captured_ns` -> the stream
        position of the first.
        """
        begin = self.end
        self.end += samples
        self._captured_ns = captured_ns
        return begin

    def idle(self, now_ns: int) -> int:
        """Samples between the end of the stream and now."""
        since_ns = now_ns - self._captured_ns
        return since_ns * self._stream_rate // NS - self._ahead

    def fill_pause(self, samples: int, now_ns: int) -> int:
        """The source has paused, and `samples` of silence that end now are sent for it, no more
        than `idle` -> the samples skipped between the last block and this silence.
        """
        skipped = self.idle(now_ns) - samples
        self.end += skipped + samples
        self._filled, self._ahead, self._captured_ns = True, 0, now_ns
        return skipped

    def captured_ns(self, position: int) -> int:
        """When the sound at a stream position was captured."""
        ahead = self.end - position
        return self._captured_ns - ahead * NS // self._stream_rate - self._delay_ns
