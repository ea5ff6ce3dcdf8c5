"""A sample queue between an audio callback and one other thread, without a lock."""

from __future__ import annotations

import numpy as np

from streamcodec.units import Pcm


class SampleRing:
    """A queue for one writer and one reader. Each moves only its own counter, and only once the
    samples are in place, so that neither ever waits for the other.

    Source: Lamport's single-producer single-consumer queue; the interpreter's lock makes the stores
    of the counters atomic.
    """

    def __init__(self, capacity: int, channels: int) -> None:
        self._samples = np.zeros((capacity, channels), np.float32)
        self.written = 0  # samples since the beginning
        self.taken = 0

    @property
    def available(self) -> int:
        """Samples that can be read."""
        return self.written - self.taken

    def write(self, pcm: Pcm) -> None:
        """Appends samples [T, C]; never waits. Samples beyond the capacity overwrite the oldest
        ones, which the reader must `skip` before that happens.
        """
        capacity = len(self._samples)
        start = self.written % capacity
        first = min(len(pcm), capacity - start)
        self._samples[start : start + first] = pcm[:first]
        self._samples[: len(pcm) - first] = pcm[first : first + capacity]
        self.written += len(pcm)

    def read_into(self, out: Pcm) -> int:
        """Takes the oldest samples, as many as there are and fit -> how many samples of `out`, from
        its beginning, were filled.
        """
        samples, capacity = min(self.available, len(out)), len(self._samples)
        start = self.taken % capacity
        first = min(samples, capacity - start)
        out[:first] = self._samples[start : start + first]
        out[first:samples] = self._samples[: samples - first]
        self.taken += samples
        return samples

    def skip(self, samples: int) -> None:
        """Drops the oldest samples."""
        self.taken += samples
