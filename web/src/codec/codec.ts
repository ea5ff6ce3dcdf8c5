// Encoders and decoders of one model, over the engine.

import { type Decoder, PayloadError } from '../playout/decoder.ts';
import type { Encoder, StreamSettings } from '../send/encoder.ts';
import type { StreamInfo } from '../wire/stream-info.ts';
import type { Engine } from './engine.ts';
import type { ModelFacts, ModelFile } from './model-file.ts';
import { atOnce, type Pieces } from './pieces.ts';

const LARGEST_PAYLOAD = 1200;
const HIGH_BAND_BYTES = 2; // that describe it, for each packet of each channel
const MOST_CHANNELS = 2;
const MOST_PACKETS = 3; // of 20 ms in one payload
const FLOAT_BYTES = 4;
const COPIED_AT_ONCE = 1 << 18; // bytes: some tenths of a millisecond, most of it for new pages

/** One model, opened; any number of encoders and decoders share it. */
export class Codec {
  readonly facts: ModelFacts;
  // Whoever lets go of a stream does not say so: its memory is freed when it is collected.
  private readonly streams = new FinalizationRegistry<number[]>(states =>
    states.forEach(address => this.engine.free(address)),
  );
  private readonly model: number;
  private readonly bitstream: number;
  private readonly workspace: number;
  private readonly payload: number;
  private readonly pcm: number;
  private readonly told: number; // level, and what says more of an error

  /**
   * `layered`: the second file, for streams with the waveform layer. Throws an Error for files that
   * the engine refuses.
   */
  static *opened(engine: Engine, base: ModelFile, layered: ModelFile | null): Pieces<Codec> {
    const files = layered === null ? [base] : [base, layered];
    const weights = yield* packed(engine, files);
    return new Codec(engine, base.facts, weights, (layered ?? base).tables);
  }

  /** The same at once. */
  static open(engine: Engine, base: ModelFile, layered: ModelFile | null = null): Codec {
    return atOnce(Codec.opened(engine, base, layered));
  }

  /** Packed weights stay in the engine's memory. */
  private constructor(
    private readonly engine: Engine,
    facts: ModelFacts,
    weights: { address: number; bytes: number },
    tables: Uint8Array,
  ) {
    this.facts = facts;
    const handle = engine.allocate(FLOAT_BYTES);
    const { sc_model_open, sc_bitstream_open_packed } = engine.call;
    checked(sc_model_open(weights.address, BigInt(weights.bytes), 0, handle));
    this.model = engine.integer(handle);
    const packed = engine.put(tables);
    checked(sc_bitstream_open_packed(packed, BigInt(tables.length), 0, handle));
    engine.free(packed);
    this.bitstream = engine.integer(handle);
    engine.free(handle);
    this.workspace = engine.allocate(
      Number(engine.call.sc_workspace_bytes(this.model, MOST_CHANNELS)),
    );
    this.payload = engine.allocate(LARGEST_PAYLOAD);
    this.pcm = engine.allocate(FLOAT_BYTES * MOST_CHANNELS * MOST_PACKETS * facts.packetSamples);
    this.told = engine.allocate(2 * FLOAT_BYTES);
  }

  /** Of one channel, 20 ms a payload, at levels without the waveform layer. */
  encoder(settings: StreamSettings): Encoder {
    const states = [this.state('encoder', 1), this.state('encoder', 1), this.state('encoder', 1)];
    const encoder = new StreamEncoder(this, settings, states);
    this.streams.register(
      encoder,
      states.map(state => state.address),
    );
    return encoder;
  }

  /** Of a stream that `undecodable` has nothing against. */
  decoder(info: StreamInfo): Decoder {
    const state = this.state('decoder', info.channels);
    const decoder = new StreamDecoder(this, info, state);
    this.streams.register(decoder, [state.address]);
    return decoder;
  }

  begin(state: State): void {
    const init = this.engine.call[`sc_${state.side}_state_init`];
    for (let c = 0; c < state.channels; c++) init(this.model, state.address + c * state.bytes);
  }

  private state(side: 'encoder' | 'decoder', channels: number): State {
    const bytes = Number(this.engine.call[`sc_${side}_state_bytes`](this.model));
    return { address: this.engine.allocate(bytes * channels), bytes, channels, side };
  }

  /** pcm [packetSamples] in -1..1 -> a payload; `after` becomes the state behind it. */
  encode(pcm: Float32Array, baseLevel: number, level: number, before: State, after: State) {
    this.engine.floats(this.pcm, pcm.length).set(pcm);
    const size = this.engine.call.sc_payload_encode(
      ...[this.model, this.bitstream, 1, 1, baseLevel, level, before.address, after.address],
      ...[this.pcm, this.payload, LARGEST_PAYLOAD, this.workspace],
    );
    checked(size);
    return this.engine.bytes(this.payload, size).slice();
  }

  /**
   * A payload, or null for one that is lost -> its level and pcm [samples] in -1..1, the mean of its
   * channels; the state moves on. Throws PayloadError, and then it has not moved.
   */
  decode(payload: Uint8Array | null, info: StreamInfo, level: number, state: State) {
    const { engine, told } = this;
    if (payload !== null) {
      if (payload.length > LARGEST_PAYLOAD) throw new PayloadError('a payload is too long');
      engine.bytes(this.payload, payload.length).set(payload);
    }
    new DataView(engine.call.memory.buffer).setInt32(told, level, true);
    const status = engine.call.sc_payload_decode(
      ...[this.model, this.bitstream, payload === null ? 0 : this.payload, payload?.length ?? 0],
      ...[info.packetSamples / this.facts.packetSamples, info.channels, info.baseLevel, told],
      ...[state.address, state.address, this.pcm, told + FLOAT_BYTES, this.workspace],
    );
    if (status !== 0) throw new PayloadError(`no payload of this stream (${status})`);
    const pcm = engine.floats(this.pcm, info.packetSamples * info.channels);
    return { level: engine.integer(told), pcm: mono(pcm, info.channels) };
  }
}

/** Memory of one stream in the engine; `bytes` of each channel. */
interface State {
  address: number;
  bytes: number;
  channels: number;
  side: 'encoder' | 'decoder';
}

class StreamEncoder implements Encoder {
  private before: State;
  private after: State;
  private readonly spare: State; // behind copies, which nobody goes on from
  private last: Float32Array | null = null;

  constructor(
    private readonly codec: Codec,
    private readonly settings: StreamSettings,
    states: State[],
  ) {
    [this.before, this.after, this.spare] = states;
    this.reset();
  }

  get facts(): ModelFacts {
    return this.codec.facts;
  }

  get baseLevel(): number {
    return this.settings.baseLevel;
  }

  encode(pcm: Float32Array, level: number): Uint8Array {
    [this.before, this.after] = [this.after, this.before];
    this.last = pcm.slice();
    return this.codec.encode(pcm, this.baseLevel, level, this.before, this.after);
  }

  copy(): Uint8Array {
    if (this.last === null) throw new Error('no packet was encoded yet');
    const { baseLevel, copyLevel } = this.settings;
    return this.codec.encode(this.last, baseLevel, copyLevel, this.before, this.spare);
  }

  reset(): void {
    this.codec.begin(this.after);
    this.last = null;
  }
}

class StreamDecoder implements Decoder {
  private level = 0;

  constructor(
    private readonly codec: Codec,
    private readonly info: StreamInfo,
    private readonly state: State,
  ) {
    this.reset();
  }

  decode(payload: Uint8Array | null): Float32Array {
    const ofCore = payload === null ? null : this.withoutHighBand(payload);
    const decoded = this.codec.decode(ofCore, this.info, this.level, this.state);
    this.level = decoded.level;
    return decoded.pcm;
  }

  /** The page plays at the core's rate: what describes the band above it is passed over. */
  private withoutHighBand(payload: Uint8Array): Uint8Array {
    if (this.info.highBand === '') return payload;
    const packets = this.info.packetSamples / this.codec.facts.packetSamples;
    const size = HIGH_BAND_BYTES * packets * this.info.channels;
    if (payload.length <= size) throw new PayloadError('a payload has nothing but its high band');
    return payload.subarray(0, payload.length - size);
  }

  reset(): void {
    this.codec.begin(this.state);
    this.level = 0;
  }
}

function checked(status: number): void {
  if (status < 0) throw new Error(`the codec does not work here (${status})`);
}

/** Weights of all files, one behind the other in the engine's memory. */
function* packed(engine: Engine, files: ModelFile[]): Pieces<{ address: number; bytes: number }> {
  const bytes = files.reduce((sum, { weights }) => sum + weights.length, 0);
  const address = engine.reserve(bytes);
  let to = address;
  for (const { weights } of files) {
    for (let from = 0; from < weights.length; from += COPIED_AT_ONCE) {
      const piece = weights.subarray(from, from + COPIED_AT_ONCE);
      engine.bytes(to, piece.length).set(piece);
      to += piece.length;
      yield;
    }
  }
  return { address, bytes };
}

/** pcm [channels, T] -> [T], their mean; a copy. */
function mono(pcm: Float32Array, channels: number): Float32Array {
  const samples = pcm.length / channels;
  const out = pcm.slice(0, samples);
  if (channels === 2) for (let t = 0; t < samples; t++) out[t] = (out[t] + pcm[samples + t]) / 2;
  return out;
}
