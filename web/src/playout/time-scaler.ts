// Time scaling of decoded packets: pitch periods are cut out or repeated, so that pitch and timbre
// stay. Adds no delay.
//
// Source: waveform similarity overlap-add (Verhelst & Roelands 1993) in the form that jitter
// buffers use, within one packet at a time. A packet is cut or lengthened by one whole period or
// not at all, so a speed is met on average over several packets. Channels are cut at the same places.

import { meanPower, type Pcm } from '../audio/pcm.ts';

// Of pitch periods; a packet of 20 ms must hold the longest period and the cross-fade.
const SHORTEST_S = 0.0025;
const LONGEST_S = 0.01;
const FADE_S = 0.005;
const ALIKE = 0.5; // normalised correlation from which a splice is not heard
const QUIET = 1e-4; // mean power below which a splice may be anywhere: -40 dBFS
const LARGEST_DEBT_S = 0.03; // from here on a sound is spliced although it is not periodic

/** Scales the packets of one stream; `reset` where the sound is interrupted. */
export class TimeScaler {
  private readonly shortest: number;
  private readonly longest: number;
  private readonly largestDebt: number;
  private readonly fade: Float32Array;
  private debt = 0; // samples that are still to be cut out; below 0: to be inserted

  /** sampleRate in Hz. */
  constructor(sampleRate: number) {
    this.shortest = Math.round(SHORTEST_S * sampleRate);
    this.longest = Math.round(LONGEST_S * sampleRate);
    this.largestDebt = Math.round(LARGEST_DEBT_S * sampleRate);
    const length = Math.round(FADE_S * sampleRate);
    this.fade = Float32Array.from(
      { length },
      (_, n) => 0.5 - 0.5 * Math.cos((Math.PI * (n + 0.5)) / length),
    );
  }

  reset(): void {
    this.debt = 0;
  }

  /**
   * pcm [T] -> [T']. speed, above 0: 1.1 makes T' ten percent less than T on average over several
   * packets; at 1 pcm is returned as it is, and what was still to be cut or inserted is forgotten.
   */
  scale(pcm: Pcm, speed: number): Pcm {
    if (speed === 1) {
      this.reset();
      return pcm;
    }
    const samples = pcm[0].length;
    let owed = this.debt + samples * (1 - 1 / speed);
    if (owed > 0 !== speed > 1) owed = samples * (1 - 1 / speed);
    this.debt = owed;
    const longest = Math.min(this.longest, samples - this.fade.length);
    if (Math.abs(owed) < this.shortest || longest < this.shortest) return pcm;
    let { period, alike } = this.mostAlike(pcm, longest);
    if (meanPower(pcm) < QUIET) {
      period = Math.min(longest, Math.trunc(Math.abs(owed)));
    } else if (alike < ALIKE) {
      if (Math.abs(owed) < this.largestDebt) return pcm;
      period = longest;
    }
    if (period > Math.abs(owed)) return pcm;
    this.debt -= owed > 0 ? period : -period;
    return pcm.map(plane =>
      owed > 0 ? this.shortened(plane, period) : this.lengthened(plane, period),
    );
  }

  private shortened(plane: Float32Array, period: number): Float32Array {
    const { length } = this.fade;
    const out = new Float32Array(plane.length - period);
    this.crossfade(out, 0, plane, 0, period);
    out.set(plane.subarray(period + length), length);
    return out;
  }

  private lengthened(plane: Float32Array, period: number): Float32Array {
    const { length } = this.fade;
    const out = new Float32Array(plane.length + period);
    out.set(plane.subarray(0, period));
    this.crossfade(out, period, plane, period, 0);
    out.set(plane.subarray(length), period + length);
    return out;
  }

  /** Writes to `out` from `at` on: what is at `from` in `plane` fades into what is at `to`. */
  private crossfade(
    out: Float32Array,
    at: number,
    plane: Float32Array,
    from: number,
    to: number,
  ): void {
    this.fade.forEach((share, n) => {
      out[at + n] = plane[from + n] * (1 - share) + plane[to + n] * share;
    });
  }

  /**
   * pcm [T] -> the shift of at most `longest` samples at which the beginning of the packet resembles
   * itself most, and the normalised correlation there, of all channels, -1..1.
   */
  private mostAlike(pcm: Pcm, longest: number): { period: number; alike: number } {
    const length = this.fade.length;
    const first = energyOf(pcm, 0, length) + 1e-9;
    let energy = energyOf(pcm, this.shortest, length);
    let best = { period: this.shortest, alike: -Infinity };
    for (let period = this.shortest; period <= longest; period++) {
      let product = 0;
      for (const plane of pcm) {
        for (let n = 0; n < length; n++) product += plane[n] * plane[period + n];
      }
      const alike = product / Math.sqrt((Math.max(0, energy) + 1e-9) * first);
      if (alike > best.alike) best = { period, alike };
      for (const plane of pcm) energy += plane[period + length] ** 2 - plane[period] ** 2;
    }
    return best;
  }
}

/** Sum of the squares of `length` samples of each channel from `begin` on. */
function energyOf(pcm: Pcm, begin: number, length: number): number {
  let energy = 0;
  for (const plane of pcm) {
    for (let n = begin; n < begin + length; n++) energy += plane[n] * plane[n];
  }
  return energy;
}
