// A model's file as the relay serves it, read: tables, and weights as the engine wants them. Written
// by streamcodec/coding/page_codec.py.

import type { Pieces } from './pieces.ts';

const MAGIC = 'SCPAGE\0\x01';
const ALIGNMENT = 64;
const PANEL = 32; // outputs whose weights lie together

/** What a model says of itself. */
export interface ModelFacts {
  /** 16 hex digits. Talker and listener must have the same. */
  hash: string;
  /** Hz. */
  sampleRate: number;
  /** Of 20 ms. */
  packetSamples: number;
  /** How far a decoder's output lags the encoder's input, in samples. */
  overlap: number;
  /** Levels from here on have the waveform layer, and need the second file. */
  baseLevels: number;
  /** Mean payload rate of each level's speech, one channel. */
  levelBitratesBps: number[];
}

/** tables: for sc_tables_read. weights: of one network, as streamcodec_models.pack writes them. */
export interface ModelFile {
  facts: ModelFacts;
  tables: Uint8Array;
  weights: Uint8Array;
}

type Part = [at: number, bytes: number] | [at: number, inputs: number, outputs: number];

/** Throws an Error where `data` is no such file. */
export function* modelFile(data: Uint8Array): Pieces<ModelFile> {
  const { head, end } = headOf(data, MAGIC);
  const tablesAt = aligned(end);
  const tables = data.subarray(tablesAt, tablesAt + head.tablesBytes);
  const weights = new Uint8Array(head.weightsBytes);
  let from = aligned(tablesAt + head.tablesBytes);
  for (const part of head.parts as Part[]) {
    const [at, bytesOrInputs, outputs] = part;
    if (outputs === undefined) {
      weights.set(data.subarray(from, from + bytesOrInputs), at);
      from += bytesOrInputs;
      continue;
    }
    const scale = new Float32Array(outputs);
    new Uint8Array(scale.buffer).set(data.subarray(from, from + 4 * outputs));
    from += 4 * outputs;
    const integers = new Int8Array(data.buffer, data.byteOffset + from, bytesOrInputs * outputs);
    from += integers.length;
    const halves = new Uint16Array(weights.buffer, at, integers.length);
    yield* widened(integers, scale, bytesOrInputs, halves);
  }
  if (from !== data.length) throw new Error('the codec for this page is damaged: load it again');
  const { hash, sampleRate, packetSamples, overlap, baseLevels, levelBitratesBps } = head;
  const facts = { hash, sampleRate, packetSamples, overlap, baseLevels, levelBitratesBps };
  return { facts, tables, weights };
}

/** integers [outputs / 32, inputs, 32] and a scale for each output -> the same as float16. */
function* widened(
  integers: Int8Array,
  scale: Float32Array,
  inputs: number,
  halves: Uint16Array,
): Pieces<void> {
  const panel = inputs * PANEL;
  for (let from = 0; from < integers.length; from += panel) {
    const scales = scale.subarray((from / panel) * PANEL);
    for (let k = from; k < from + panel; k++) halves[k] = toHalf(integers[k] * scales[k % PANEL]);
    yield;
  }
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** A number -> its float16, as bits; the nearest, and of two the even one. */
export function toHalf(value: number): number {
  single[0] = value;
  const sign = (singleBits[0] >>> 16) & 0x8000;
  const size = Math.abs(single[0]);
  // Below 2^-14 float16 counts in steps of 2^-24.
  if (size < 2 ** -14) return sign | nearestEven(size * 2 ** 24);
  const bits = singleBits[0] & 0x7fffffff;
  const rounded = bits + 0xfff + ((bits >>> 13) & 1);
  return sign | Math.min(0x7c00, (rounded - 0x38000000) >>> 13);
}

/**
 * What a file says of itself: `magic`, a length (uint32), JSON that ends at `end`. Throws an Error
 * where it does not begin so.
 */
export function headOf(data: Uint8Array, magic: string) {
  const headAt = magic.length + 4;
  const text = new TextDecoder();
  if (data.length < headAt || text.decode(data.subarray(0, magic.length)) !== magic) {
    throw new Error('this is no codec for pages');
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const end = headAt + view.getUint32(magic.length, true);
  return { head: JSON.parse(text.decode(data.subarray(headAt, end))), end };
}

function nearestEven(value: number): number {
  const below = Math.floor(value);
  const over = value - below;
  return over > 0.5 || (over === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/** Where what follows so many bytes begins. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
