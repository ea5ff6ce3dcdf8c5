// Samples from one thread to another through memory that both share: one writes, one reads, neither
// waits.

const COUNTERS = 2; // samples written and read since the beginning, mod 2^32
const INTEGER_BYTES = 4;

/**
 * Memory of a ring for at least so many samples. Only a page that is isolated from other origins
 * has any.
 */
export function ringMemory(capacitySamples: number): SharedArrayBuffer {
  // A power of two divides 2^32, so that places go on where the counters wrap.
  const capacity = 2 ** Math.ceil(Math.log2(capacitySamples));
  return new SharedArrayBuffer((COUNTERS + capacity) * INTEGER_BYTES);
}

/** One end of a ring. */
export class Ring {
  private readonly counters: Int32Array;
  private readonly samples: Float32Array;

  constructor(memory: SharedArrayBuffer) {
    this.counters = new Int32Array(memory, 0, COUNTERS);
    this.samples = new Float32Array(memory, COUNTERS * INTEGER_BYTES);
  }

  /** Samples that were written and not read. */
  get waiting(): number {
    return (Atomics.load(this.counters, 0) - Atomics.load(this.counters, 1)) >>> 0;
  }

  /** Writes what there is room for -> how many samples that was. */
  write(pcm: Float32Array): number {
    const count = Math.min(pcm.length, this.samples.length - this.waiting);
    const at = Atomics.load(this.counters, 0);
    for (let t = 0; t < count; t++) this.samples[this.place(at + t)] = pcm[t];
    Atomics.store(this.counters, 0, at + count);
    return count;
  }

  /** Reads at most `pcm.length` samples into its beginning -> how many. */
  read(pcm: Float32Array): number {
    const count = Math.min(pcm.length, this.waiting);
    const at = Atomics.load(this.counters, 1);
    for (let t = 0; t < count; t++) pcm[t] = this.samples[this.place(at + t)];
    Atomics.store(this.counters, 1, at + count);
    return count;
  }

  private place(counter: number): number {
    return counter & (this.samples.length - 1);
  }
}
