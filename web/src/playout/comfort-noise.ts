// Comfort noise: imitates a talker's background, in level and spectrum, while no packets come.
//
// Digital silence in a pause sounds like a lost connection, and in a sentence like a fault. Source:
// ITU-T G.711 appendix II and RFC 3389, whose noise has the background's spectral envelope. Theirs
// is sent as parameters; ours is measured from the decoded sound.

import { RealFft } from '../audio/fft.ts';
import { cut, joined, meanPower, type Pcm, silence } from '../audio/pcm.ts';

const WINDOW_S = 0.02;
const RECENT_FRAMES = 16; // of half-overlapping windows: the last 170 ms
const LOUDEST_SHARE = 4; // times the median power: a frame above it is the end of a word
const KEPT_S = 3;
const QUIETEST = 0.1; // share of the kept frames that is taken to lie between words
// Share of the loudest packet's power that the background may have: of a talker who has not paused
// yet even the quietest frames are speech.
const BELOW_SPEECH = 0.003;

/**
 * `learn` from every decoded packet, `make` as much noise as is needed. One talker, whose channels
 * have noise of their own. Windows of WINDOW_S overlap by half.
 */
export class ComfortNoise {
  private readonly hop: number;
  private readonly window: Float64Array;
  private readonly fft: RealFft;
  private readonly kept: number;
  private heard: Pcm[] = [];
  private heardSamples = 0;
  private loudest = 0; // mean power of the loudest packet
  // Magnitudes [bins] of each channel by `amongSpeech`; absent until they are measured.
  private readonly background = new Map<boolean, Float64Array[]>();
  private tail: Pcm;
  private made: Pcm;

  /** sampleRate in Hz; `random` draws uniformly from 0 <= x < 1. */
  constructor(
    sampleRate: number,
    private readonly channels: number,
    private readonly random: () => number = Math.random,
  ) {
    this.hop = Math.round((WINDOW_S * sampleRate) / 2);
    const size = 2 * this.hop;
    this.window = Float64Array.from({ length: size }, (_, n) =>
      Math.sin((Math.PI * (n + 0.5)) / size),
    );
    this.fft = new RealFft(size);
    this.kept = Math.round(KEPT_S * sampleRate);
    this.tail = silence(channels, this.hop);
    this.made = silence(channels, 0);
  }

  /**
   * pcm [T], full scale 1. `voice`: the talker's voice detector marked it as speech, so it is not
   * background.
   */
  learn(pcm: Pcm, voice: boolean): void {
    this.loudest = Math.max(this.loudest, meanPower(pcm));
    if (voice) return;
    // Measured only when noise is made: most packets are never followed by a pause or a loss.
    this.heard.push(pcm);
    this.heardSamples += pcm[0].length;
    while (this.heardSamples - this.heard[0][0].length >= this.kept) {
      this.heardSamples -= this.heard[0][0].length;
      this.heard.shift();
    }
    this.background.clear();
  }

  /**
   * The next [samples]; zeros while too little was learnt. Without `amongSpeech` (in an announced
   * pause) the last 170 ms that were learnt are the background; with it (after a loss in
   * mid-sentence) the quietest frames of the last KEPT_S, which hold speech as well.
   */
  make(samples: number, amongSpeech: boolean): Pcm {
    let magnitudes = this.background.get(amongSpeech);
    if (magnitudes === undefined) {
      magnitudes = this.measured(amongSpeech);
      this.background.set(amongSpeech, magnitudes);
    }
    const parts = [this.made];
    for (let have = this.made[0].length; have < samples; have += this.hop) {
      parts.push(magnitudes.map((magnitude, c) => this.frame(magnitude, this.tail[c])));
    }
    const made = joined(parts);
    this.made = cut(made, samples);
    return cut(made, 0, samples);
  }

  /** Forgets the background. */
  reset(): void {
    this.heard = [];
    this.heardSamples = 0;
    this.loudest = 0;
    this.background.clear();
    this.made = silence(this.channels, 0);
    this.tail = silence(this.channels, this.hop);
  }

  /** Magnitude spectrum of the background, [bins] of each channel. */
  private measured(amongSpeech: boolean): Float64Array[] {
    if (this.heardSamples < 2 * this.hop) {
      return Array.from(this.tail, () => new Float64Array(this.fft.bins));
    }
    let heard = joined(this.heard);
    if (!amongSpeech) heard = cut(heard, -(RECENT_FRAMES + 1) * this.hop);
    const totals = this.totals(heard);
    const places = totals.map((_, n) => n);
    if (!amongSpeech) {
      const most = LOUDEST_SHARE * median(totals) + 1e-20;
      const chosen = places.filter(n => totals[n] <= most);
      return heard.map(plane => this.meanMagnitude(plane, chosen, 1));
    }
    const count = Math.max(1, roundHalfEven(QUIETEST * totals.length));
    const chosen = places.sort((a, b) => totals[a] - totals[b]).slice(0, count);
    // In noise of power p, each of the `hop` bins holds p times the sum of the squared window,
    // which is `hop`.
    const total = chosen.reduce((sum, n) => sum + totals[n], 0) / count;
    const powerOfQuiet = total / (this.channels * this.hop ** 2);
    const gain = Math.min(1, (BELOW_SPEECH * this.loudest) / Math.max(powerOfQuiet, 1e-20));
    return heard.map(plane => this.meanMagnitude(plane, chosen, gain));
  }

  /**
   * heard [T] -> of each of its half-overlapping windows the sum of its power spectra, taken from
   * its samples: most windows need no transform.
   */
  private totals(heard: Pcm): number[] {
    const { hop, window } = this;
    const totals = [];
    for (let at = 0; at + 2 * hop <= heard[0].length; at += hop) {
      let total = 0;
      for (const plane of heard) {
        let [energy, sum, alternating] = [0, 0, 0];
        for (let n = 0; n < 2 * hop; n += 2) {
          const even = plane[at + n] * window[n];
          const odd = plane[at + n + 1] * window[n + 1];
          energy += even * even + odd * odd;
          sum += even + odd;
          alternating += even - odd;
        }
        // By Parseval; the first and the last bin stand for themselves, the others for two.
        total += (2 * hop * energy + sum * sum + alternating * alternating) / 2;
      }
      totals.push(total);
    }
    return totals;
  }

  /** Square root of `gain` times the mean power spectrum of these windows of `plane`, [bins]. */
  private meanMagnitude(plane: Float32Array, places: number[], gain: number): Float64Array {
    const { hop, window, fft } = this;
    const frame = new Float64Array(2 * hop);
    const re = new Float64Array(fft.bins);
    const im = new Float64Array(fft.bins);
    const sums = new Float64Array(fft.bins);
    for (const place of places) {
      for (let n = 0; n < frame.length; n++) frame[n] = plane[place * hop + n] * window[n];
      fft.forward(frame, re, im);
      for (let k = 0; k < sums.length; k++) sums[k] += re[k] * re[k] + im[k] * im[k];
    }
    return sums.map(power => Math.sqrt((power / places.length) * gain));
  }

  /**
   * The next hop of a channel's noise with this spectrum, by overlap-add with its `tail`, which moves
   * on. Real and imaginary part have a variance of one half each, so that E|X|^2 = 1; the squared
   * windows of neighbouring frames add up to one.
   */
  private frame(magnitude: Float64Array, tail: Float32Array): Float32Array {
    const re = new Float64Array(magnitude.length);
    const im = new Float64Array(magnitude.length);
    magnitude.forEach((size, k) => {
      // Box and Muller: two normal numbers at once. The sqrt(2) that makes up for the power that
      // the analysis window took and the variance of one half cancel.
      const radius = Math.sqrt(-2 * Math.log(1 - this.random())) * size;
      const angle = 2 * Math.PI * this.random();
      re[k] = radius * Math.cos(angle);
      im[k] = radius * Math.sin(angle);
    });
    const frame = this.fft.inverse(re, im);
    const out = new Float32Array(this.hop);
    for (let n = 0; n < this.hop; n++) {
      out[n] = tail[n] + frame[n] * this.window[n];
      tail[n] = frame[this.hop + n] * this.window[this.hop + n];
    }
    return out;
  }
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** As Python's and NumPy's `round`: halves go to the even neighbour. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}
