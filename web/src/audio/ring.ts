// Samples from one thread to another through memory that both share: one writes, one reads, neither
// waits.

import { channelOf, type Pcm } from './pcm.ts';

const COUNTERS = 2; // samples written and read since the beginning, mod 2^32
const INTEGER_BYTES = 4;

/**
 * Memory of a ring for at least so many samples of each channel. Only a page that is isolated from
 * other origins has any.
 */
export function ringMemory(capacitySamples: number, channels: number): SharedArrayBuffer {
  // A power of two divides 2^32, so that places go on where the counters wrap.
  const capacity = 2 ** Math.ceil(Math.log2(capacitySamples));
  return new SharedArrayBuffer((COUNTERS + channels * capacity) * INTEGER_BYTES);
}

/** One end of a ring. */
export class Ring {
  private readonly counters: Int32Array;
  private readonly capacity: number;
  private readonly planes: Pcm;

  /** `memory`: of `ringMemory`, for as many channels. */
  constructor(memory: SharedArrayBuffer, channels: number) {
    this.counters = new Int32Array(memory, 0, COUNTERS);
    this.capacity = (memory.byteLength / INTEGER_BYTES - COUNTERS) / channels;
    this.planes = Array.from({ length: channels }, (_, c) => {
      const begin = INTEGER_BYTES * (COUNTERS + c * this.capacity);
      return new Float32Array(memory, begin, this.capacity);
    });
  }

  /** Samples that were written and not read. */
  get waiting(): number {
    return (Atomics.load(this.counters, 0) - Atomics.load(this.counters, 1)) >>> 0;
  }

  /**
   * Writes what there is room for, a single channel to all of the ring's -> how many samples of
   * each that was.
   */
  write(pcm: Pcm): number {
    const count = Math.min(pcm[0].length, this.capacity - this.waiting);
    const at = Atomics.load(this.counters, 0);
    const begin = this.place(at);
    const behind = Math.min(count, this.capacity - begin); // the rest lies at its beginning
    this.planes.forEach((plane, c) => {
      const samples = channelOf(pcm, c);
      plane.set(samples.subarray(0, behind), begin);
      if (behind < count) plane.set(samples.subarray(behind, count));
    });
    Atomics.store(this.counters, 0, at + count);
    return count;
  }

  /** Reads at most as many samples as `pcm` has into its beginning -> how many. */
  read(pcm: Pcm): number {
    const count = Math.min(pcm[0].length, this.waiting);
    const at = Atomics.load(this.counters, 1);
    const begin = this.place(at);
    const behind = Math.min(count, this.capacity - begin);
    this.planes.forEach((plane, c) => {
      pcm[c].set(plane.subarray(begin, begin + behind));
      if (behind < count) pcm[c].set(plane.subarray(0, count - behind), behind);
    });
    Atomics.store(this.counters, 1, at + count);
    return count;
  }

  private place(counter: number): number {
    return counter & (this.capacity - 1);
  }
}
