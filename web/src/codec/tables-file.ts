// Tables of what not every model has, as the relay serves them: of the high band and of joint stereo.
// Written by streamcodec/coding/page_codec.py.

import { RealFft } from '../audio/fft.ts';
import { aligned, headOf } from './model-file.ts';
import type { Pieces } from './pieces.ts';

const MAGIC = 'SCTABL\0\x01';

/** hash: 16 hex digits, which a stream names. data: as the engine reads it. */
export interface Tables {
  hash: string;
  data: Uint8Array;
}

/** For sc_high_band_open. */
export interface HighBandTables extends Tables {
  /** How many times the core's sample rate that of full-band sound is. */
  widening: number;
  /** How far a decoder's output lags the encoder's input, in samples of full-band sound. */
  lag: number;
}

/** null for what a model does not have. jointStereo: for sc_bitstream_open_joint. */
export interface TablesFile {
  highBand: HighBandTables | null;
  jointStereo: Tables | null;
}

/** What the file says of the high band's noise. Frequencies are shares of the sample rate. */
interface Noise {
  noiseSamples: number;
  /** So many of its samples follow once more, behind the last. */
  noiseRepeated: number;
  /** Root of the mean power that each band is to have. */
  noiseLevel: number;
  /** Where bands begin, and where the last ends. */
  edges: number[];
  /** Over which neighbours meet. */
  slope: number;
}

/** Throws an Error where `data` is no such file. */
export function* tablesFile(data: Uint8Array): Pieces<TablesFile> {
  const { head, end } = headOf(data, MAGIC);
  let at = end;
  const next = (bytes: number): Uint8Array => {
    const from = aligned(at);
    at = from + bytes;
    return data.subarray(from, at);
  };
  const file: TablesFile = { highBand: null, jointStereo: null };
  if (head.highBand) {
    const { hash, widening, lag, bytes, ...about } = head.highBand;
    const [tables, noise] = [next(bytes), next(about.noiseSamples)];
    const bands = yield* bandsOfNoise(Float64Array.from(new Int8Array(noise)), about);
    const whole = new Uint8Array(tables.length + bands.byteLength);
    whole.set(tables);
    whole.set(new Uint8Array(bands.buffer), tables.length);
    file.highBand = { hash, widening, lag, data: whole };
  }
  if (head.jointStereo) {
    const { hash, bytes } = head.jointStereo;
    file.jointStereo = { hash, data: next(bytes) };
  }
  if (aligned(at) !== data.length) throw new Error('tables for this page are damaged');
  return file;
}

/** -> [bands, samples with those that are repeated], as bands_of_noise in coding/high_band.py. */
function* bandsOfNoise(noise: Float64Array, about: Noise): Pieces<Float32Array> {
  const { noiseRepeated, noiseLevel, edges, slope } = about;
  const fft = new RealFft(noise.length);
  const [re, im] = [new Float64Array(fft.bins), new Float64Array(fft.bins)];
  fft.forward(noise, re, im);
  yield;
  const size = noise.length + noiseRepeated;
  const all = new Float32Array((edges.length - 1) * size);
  const [bandRe, bandIm] = [new Float64Array(fft.bins), new Float64Array(fft.bins)];
  for (let b = 0; b + 1 < edges.length; b++) {
    bandRe.fill(0);
    bandIm.fill(0);
    const first = Math.max(0, Math.floor((edges[b] - slope) * noise.length));
    const last = Math.min(fft.bins, Math.ceil((edges[b + 1] + slope) * noise.length));
    for (let k = first; k < last; k++) {
      const frequency = k / noise.length;
      const begun = within((frequency - edges[b]) / slope + 0.5);
      const share = Math.sqrt(begun * within((edges[b + 1] - frequency) / slope + 0.5));
      bandRe[k] = share * re[k];
      bandIm[k] = share * im[k];
    }
    const band = fft.inverse(bandRe, bandIm);
    let energy = 0;
    for (let t = 0; t < band.length; t++) energy += band[t] * band[t];
    const gain = noiseLevel / Math.sqrt(energy / band.length);
    const mine = all.subarray(b * size, (b + 1) * size);
    for (let t = 0; t < band.length; t++) mine[t] = gain * band[t];
    mine.copyWithin(band.length, 0, noiseRepeated);
    yield;
  }
  return all;
}

function within(share: number): number {
  return Math.min(1, Math.max(0, share));
}
