// Tables of what not every model has, as the relay serves them: of the high band and of joint stereo.
// Written by streamcodec/coding/page_codec.py.

import { aligned, headOf } from './model-file.ts';
import type { Noise } from './noise.ts';

const MAGIC = 'SCTABL\0\x01';

/** hash: 16 hex digits, which a stream names. data: as the engine reads it. */
export interface Tables {
  hash: string;
  data: Uint8Array;
}

/** For sc_high_band_open, which wants the bands of the noise behind `data`. */
export interface HighBandTables extends Tables {
  /** How many times the core's sample rate that of full-band sound is. */
  widening: number;
  /** How far a decoder's output lags the encoder's input, in samples of full-band sound. */
  lag: number;
  noise: Noise;
}

/** null for what a model does not have. jointStereo: for sc_bitstream_open_joint. */
export interface TablesFile {
  highBand: HighBandTables | null;
  jointStereo: Tables | null;
}

/** Throws an Error where `data` is no such file. */
export function tablesFile(data: Uint8Array): TablesFile {
  const { head, end } = headOf(data, MAGIC);
  let at = end;
  const next = (bytes: number): Uint8Array => {
    const from = aligned(at);
    at = from + bytes;
    return data.subarray(from, at);
  };
  const file: TablesFile = { highBand: null, jointStereo: null };
  if (head.highBand) {
    const { hash, widening, lag, bytes, noise } = head.highBand;
    const data = next(bytes);
    const samples = new Int8Array(next(noise.count));
    file.highBand = { hash, widening, lag, data, noise: { ...noise, samples } };
  }
  if (head.jointStereo) {
    const { hash, bytes } = head.jointStereo;
    file.jointStereo = { hash, data: next(bytes) };
  }
  if (aligned(at) !== data.length) throw new Error('tables for this page are damaged');
  return file;
}
