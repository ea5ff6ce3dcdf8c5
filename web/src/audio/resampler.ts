// Streaming conversion of sample rates, at a speed that may change all the time.

import type { Pcm } from './pcm.ts';

const ZERO_CROSSINGS = 16; // half the kernel, in samples of the lower rate: the delay
const KAISER_BETA = 7; // about 70 dB; the transition band is then 13 % of the lower rate
const CUTOFF = 0.46; // of the lower rate, where half is left: at 16 kHz flat to 6.3 kHz
// The same between equal rates, where nothing is to be kept out: at speed 1 only a delay is left.
const CUTOFF_OF_EQUAL_RATES = 0.5;
const LEAST_PHASES = 256; // of the table; linear interpolation between them is off by -90 dB
const ON_A_PHASE = 1e-6; // closer than that nothing need be interpolated
const AT_ONCE = 4; // products with a sum of their own: one sum would wait for each addition
const ROUNDING = 1e-9; // input samples; errors of the position must not shift an output by a block

// By rates, of which a page meets few: a table takes milliseconds to make.
const TABLES = new Map<string, Float64Array>();

/**
 * A windowed sinc over each channel, read from a table of fractions of an input sample and
 * interpolated between them: any ratio of rates, which may change with every call. Each block comes
 * out at once, `delayS` late. Equal rates are converted as well, so that nothing clicks when a
 * speed begins. The number of channels may change, too: one more goes on from what the first one
 * was, as if that had been heard on both.
 */
export class Resampler {
  /** By how much the output is late, in s: 1 ms at 16 kHz. */
  readonly delayS: number;
  private readonly taps: number;
  // A multiple of those that outputs have at speed 1, if that is not too many.
  private readonly phases: number;
  // [phases + 1, taps]: for an output at each fraction of an input sample, the weights of the last
  // `taps` input samples, oldest first.
  private readonly table: Float64Array;
  private readonly step: number; // input samples for each output at speed 1
  private readonly centre: number; // the only tap that counts, between equal rates on a sample
  // Of each channel: the last taps - 1 samples of earlier blocks, then the present one.
  private readonly channels: Float64Array[];
  private position = 0; // of the next output, in input samples from the start of the next block

  /** Rates in Hz. Throws RangeError unless both are above 0. */
  constructor(fromRate: number, toRate: number) {
    if (!(fromRate > 0 && toRate > 0)) {
      throw new RangeError(`sample rates must be above 0 Hz, got ${fromRate} and ${toRate}`);
    }
    const lower = Math.min(fromRate, toRate);
    const half = (ZERO_CROSSINGS * fromRate) / lower; // in input samples
    this.delayS = ZERO_CROSSINGS / lower;
    this.step = fromRate / toRate;
    // What is more than the kernel has weighs nothing.
    this.taps = AT_ONCE * Math.ceil((2 * half + 1) / AT_ONCE);
    this.centre = this.taps - 1 - half;
    const cutoff = fromRate === toRate ? CUTOFF_OF_EQUAL_RATES : CUTOFF;
    this.phases = phasesOf(fromRate, toRate);
    const key = `${fromRate} ${toRate}`;
    const cutoffShare = (2 * cutoff * lower) / fromRate;
    this.table = TABLES.get(key) ?? kernels(half, this.taps, this.phases, cutoffShare);
    TABLES.set(key, this.table);
    this.channels = [new Float64Array(this.taps - 1)];
  }

  /**
   * pcm [T] at the first rate -> [T'] at the second, T' = T * toRate / fromRate / speed on average.
   * speed: 1.001 plays it so much faster, and higher; near 1, because the kernel stays the same.
   */
  convert(pcm: Pcm, speed = 1): Pcm {
    const { channels } = this;
    while (channels.length < pcm.length) channels.push(channels[0].slice());
    channels.length = pcm.length;
    const step = this.step * speed;
    const { length } = pcm[0];
    const onSample = Math.abs(this.position) * this.phases < ON_A_PHASE;
    const delays = this.step === 1 && speed === 1 && onSample;
    const count = delays ? length : Math.ceil((length - ROUNDING - this.position) / step);
    const converted = pcm.map((plane, c) => {
      const samples = this.added(c, plane);
      const out = delays
        ? Float32Array.from(samples.subarray(this.centre, this.centre + length))
        : this.products(samples, Math.max(0, count), step);
      samples.copyWithin(0, length, length + this.taps - 1); // for the next block
      return out;
    });
    this.position += converted[0].length * step - length;
    return converted;
  }

  /** Samples of a channel with `plane`, which comes next. */
  private added(channel: number, plane: Float32Array): Float64Array {
    const kept = this.taps - 1;
    let samples = this.channels[channel];
    if (samples.length < kept + plane.length) {
      samples = new Float64Array(kept + plane.length);
      samples.set(this.channels[channel].subarray(0, kept));
      this.channels[channel] = samples;
    }
    samples.set(plane, kept);
    return samples;
  }

  /** [count] outputs from `position` on, `step` input samples apart. */
  private products(samples: Float64Array, count: number, step: number): Float32Array {
    const { taps, table } = this;
    const out = new Float32Array(count);
    for (let n = 0; n < count; n++) {
      const at = Math.max(0, this.position + n * step);
      const index = Math.floor(at);
      const phase = (at - index) * this.phases;
      const nearest = Math.round(phase);
      if (Math.abs(phase - nearest) < ON_A_PHASE) {
        out[n] = product(samples, index, table, nearest * taps, taps);
        continue;
      }
      const row = Math.floor(phase);
      const before = product(samples, index, table, row * taps, taps);
      const after = product(samples, index, table, (row + 1) * taps, taps);
      out[n] = before + (phase - row) * (after - before);
    }
    return out;
  }
}

/** Of `count` numbers of each from there on, a multiple of AT_ONCE. */
function product(
  samples: Float64Array,
  at: number,
  table: Float64Array,
  from: number,
  count: number,
): number {
  let [first, second, third, fourth] = [0, 0, 0, 0];
  for (let k = 0; k < count; k += AT_ONCE) {
    first += samples[at + k] * table[from + k];
    second += samples[at + k + 1] * table[from + k + 1];
    third += samples[at + k + 2] * table[from + k + 2];
    fourth += samples[at + k + 3] * table[from + k + 3];
  }
  return first + second + (third + fourth);
}

/** cutoff: of the input's Nyquist frequency. half: of the kernel, in input samples. */
function kernels(half: number, taps: number, phases: number, cutoff: number): Float64Array {
  const table = new Float64Array((phases + 1) * taps);
  for (let row = 0; row <= phases; row++) {
    const weights = [];
    for (let tap = 0; tap < taps; tap++) {
      // Distance from the centre of the kernel, which lies `half` behind the output's own time.
      const distance = tap - (taps - 1) - row / phases + half;
      const inside = 1 - (distance / half) ** 2;
      const window = inside < 0 ? 0 : bessel(KAISER_BETA * Math.sqrt(inside));
      weights.push(window * sinc(cutoff * distance));
    }
    const sum = weights.reduce((total, weight) => total + weight, 0);
    table.set(
      weights.map(weight => weight / sum),
      row * taps,
    );
  }
  return table;
}

/** Of rates that have a common measure: their outputs lie at few fractions of an input sample. */
function phasesOf(fromRate: number, toRate: number): number {
  let [measure, rest] = [toRate, fromRate];
  while (rest > 0) [measure, rest] = [rest, measure % rest];
  const fractions = toRate / measure;
  const fits = fractions <= 2 * LEAST_PHASES;
  return fits ? fractions * Math.ceil(LEAST_PHASES / fractions) : LEAST_PHASES;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** The modified Bessel function of order zero, by its series. */
function bessel(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
