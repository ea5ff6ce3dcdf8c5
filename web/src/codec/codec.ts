// Encoders and decoders of one model, over the engine.

import type { Pcm } from '../audio/pcm.ts';
import { type Decoder, PayloadError } from '../playout/decoder.ts';
import type { Encoder, StreamSettings } from '../send/encoder.ts';
import type { StreamInfo } from '../wire/stream-info.ts';
import type { Engine } from './engine.ts';
import { descriptionsIn, type HighBand, type SoundFacts, soundFacts } from './high-band.ts';
import type { ModelFacts, ModelFile } from './model-file.ts';
import { atOnce, type Pieces } from './pieces.ts';
import type { Tables } from './tables-file.ts';

const LARGEST_PAYLOAD = 1200;
const MOST_CHANNELS = 2;
const MOST_PACKETS = 3; // of 20 ms in one payload
const FLOAT_BYTES = 4;
const COPIED_AT_ONCE = 1 << 18; // bytes: some tenths of a millisecond, most of it for new pages

/** What a model may have besides its core; null where it does not. */
export interface Besides {
  /** Sound is at its full rate then, of streams that say nothing of it, too. */
  highBand: HighBand | null;
  jointStereo: Tables | null;
}

const NOTHING = new Uint8Array(0);
const NOTHING_BESIDES: Besides = { highBand: null, jointStereo: null };

/** One model, opened; any number of encoders and decoders share it. */
export class Codec {
  /** Of the core. */
  readonly facts: ModelFacts;
  /** Of what is encoded and decoded. */
  readonly sound: SoundFacts;
  readonly highBand: HighBand | null;
  // Whoever lets go of a stream does not say so: its memory is freed when it is collected.
  private readonly streams = new FinalizationRegistry<number[]>(states =>
    states.forEach(address => this.engine.free(address)),
  );
  private readonly model: number;
  private readonly bitstream: number;
  private readonly joint: number; // for streams with joint stereo; 0 where it has none
  /** 16 hex digits of the tables of joint stereo; '' where it has none, or none that it can use. */
  readonly jointStereo: string;
  private readonly workspace: number;
  private readonly payload: number;
  private readonly pcm: number;
  private readonly told: number; // level, and what says more of an error

  /**
   * `layered`: the second file, for streams with the waveform layer. Packed weights stay in the
   * engine's memory. Throws an Error for files that the engine refuses.
   */
  static *opened(
    engine: Engine,
    base: ModelFile,
    layered: ModelFile | null,
    besides = NOTHING_BESIDES,
  ): Pieces<Codec> {
    const files = layered === null ? [base] : [base, layered];
    const weights = yield* packed(engine, files);
    const model = engine.opened(handle =>
      engine.call.sc_model_open(weights.address, BigInt(weights.bytes), 0, handle),
    );
    yield;
    const bitstreams = yield* opened(engine, (layered ?? base).tables, besides.jointStereo);
    return new Codec(engine, base.facts, model, bitstreams, besides.highBand);
  }

  /** The same at once, of the first file. */
  static open(engine: Engine, base: ModelFile, besides: Besides): Codec {
    return atOnce(Codec.opened(engine, base, null, besides));
  }

  private constructor(
    private readonly engine: Engine,
    facts: ModelFacts,
    model: number,
    bitstreams: Bitstreams,
    highBand: HighBand | null,
  ) {
    this.facts = facts;
    this.highBand = highBand;
    this.sound = soundFacts(facts, highBand);
    this.model = model;
    ({ bitstream: this.bitstream, joint: this.joint, jointStereo: this.jointStereo } = bitstreams);
    this.workspace = engine.allocate(Number(engine.call.sc_workspace_bytes(model, MOST_CHANNELS)));
    this.payload = engine.allocate(LARGEST_PAYLOAD);
    this.pcm = engine.allocate(FLOAT_BYTES * MOST_CHANNELS * MOST_PACKETS * facts.packetSamples);
    this.told = engine.allocate(2 * FLOAT_BYTES);
  }

  /** Of one channel, 20 ms a payload, at levels without the waveform layer. */
  encoder(settings: StreamSettings): Encoder {
    const states = [this.state('encoder', 1), this.state('encoder', 1), this.state('encoder', 1)];
    const ofBand = this.bandState(1);
    const encoder = new StreamEncoder(this, settings, states, ofBand);
    this.streams.register(encoder, addresses(...states, ofBand));
    return encoder;
  }

  /** Of a stream that `undecodable` has nothing against. */
  decoder(info: StreamInfo): Decoder {
    const state = this.state('decoder', info.channels);
    const ofBand = this.bandState(info.channels);
    const decoder = new StreamDecoder(this, info, state, ofBand);
    this.streams.register(decoder, addresses(state, ofBand));
    return decoder;
  }

  begin(state: State): void {
    if (state.side === 'band') {
      this.engine.bytes(state.address, state.bytes * state.channels).fill(0);
      return;
    }
    const init = this.engine.call[`sc_${state.side}_state_init`];
    for (let c = 0; c < state.channels; c++) init(this.model, state.address + c * state.bytes);
  }

  private state(side: 'encoder' | 'decoder', channels: number): State {
    const bytes = Number(this.engine.call[`sc_${side}_state_bytes`](this.model));
    return { address: this.engine.allocate(bytes * channels), bytes, channels, side };
  }

  private bandState(channels: number): State | null {
    if (this.highBand === null) return null;
    const bytes = this.highBand.stateBytes;
    return { address: this.engine.allocate(bytes * channels), bytes, channels, side: 'band' };
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
   * A payload of the core, or null for one that is lost -> its level and the address of its sound
   * [channels, samples], which holds until the next call; the state moves on. Throws PayloadError,
   * and then it has not moved.
   */
  decode(payload: Uint8Array | null, info: StreamInfo, level: number, state: State) {
    const { engine, told } = this;
    if (payload !== null) {
      if (payload.length > LARGEST_PAYLOAD) throw new PayloadError('a payload is too long');
      engine.bytes(this.payload, payload.length).set(payload);
    }
    new DataView(engine.call.memory.buffer).setInt32(told, level, true);
    const status = engine.call.sc_payload_decode(
      ...[this.model, info.jointStereo === '' ? this.bitstream : this.joint],
      ...[payload === null ? 0 : this.payload, payload?.length ?? 0],
      ...[info.packetSamples / this.facts.packetSamples, info.channels, info.baseLevel, told],
      ...[state.address, state.address, this.pcm, told + FLOAT_BYTES, this.workspace],
    );
    if (status !== 0) throw new PayloadError(`no payload of this stream (${status})`);
    return { level: engine.integer(told), pcm: this.pcm };
  }

  /** What `decode` has made, a copy. */
  copied(pcm: number, { channels, packetSamples }: StreamInfo): Pcm {
    return Array.from({ length: channels }, (_, c) =>
      this.engine.floats(pcm + FLOAT_BYTES * packetSamples * c, packetSamples).slice(),
    );
  }
}

/** Memory of one stream in the engine; `bytes` of each channel. band: of the high one. */
interface State {
  address: number;
  bytes: number;
  channels: number;
  side: 'encoder' | 'decoder' | 'band';
}

class StreamEncoder implements Encoder {
  private before: State;
  private after: State;
  private readonly spare: State; // behind copies, which nobody goes on from
  private last: { core: Float32Array; told: Uint8Array } | null = null;

  /** `ofBand`: null where the sound is the core's. */
  constructor(
    private readonly codec: Codec,
    private readonly settings: StreamSettings,
    states: State[],
    private readonly ofBand: State | null,
  ) {
    [this.before, this.after, this.spare] = states;
    this.reset();
  }

  get facts(): SoundFacts {
    return { ...this.codec.sound, highBand: this.settings.highBand };
  }

  get baseLevel(): number {
    return this.settings.baseLevel;
  }

  encode(pcm: Float32Array, level: number): Uint8Array {
    [this.before, this.after] = [this.after, this.before];
    this.last =
      this.ofBand === null
        ? { core: pcm.slice(), told: NOTHING }
        : this.codec.highBand!.split(this.ofBand.address, pcm, this.settings.highBand !== '');
    const { core, told } = this.last;
    const payload = this.codec.encode(core, this.baseLevel, level, this.before, this.after);
    return joined(payload, told);
  }

  copy(): Uint8Array {
    if (this.last === null) throw new Error('no packet was encoded yet');
    const { baseLevel, copyLevel } = this.settings;
    const { core, told } = this.last;
    return joined(this.codec.encode(core, baseLevel, copyLevel, this.before, this.spare), told);
  }

  reset(): void {
    this.codec.begin(this.after);
    if (this.ofBand !== null) this.codec.begin(this.ofBand);
    this.last = null;
  }
}

class StreamDecoder implements Decoder {
  private level = 0;
  private readonly packets: number; // of 20 ms in a payload
  private readonly understood: boolean; // as our tables say it
  private readonly bandStates: number[] = []; // of each channel

  /** `ofBand`: null where the sound is to be the core's. */
  constructor(
    private readonly codec: Codec,
    private readonly info: StreamInfo,
    private readonly state: State,
    private readonly ofBand: State | null,
  ) {
    const { channels, highBand } = info;
    this.packets = info.packetSamples / codec.facts.packetSamples;
    this.understood = highBand === codec.sound.highBand && highBand !== '';
    if (ofBand !== null) {
      for (let c = 0; c < channels; c++) this.bandStates.push(ofBand.address + c * ofBand.bytes);
    }
    this.reset(true);
  }

  decode(payload: Uint8Array | null): Pcm {
    const { codec, info, packets } = this;
    const joint = info.jointStereo !== '';
    let [ofCore, told]: [Uint8Array | null, Uint8Array[] | null] = [payload, null];
    if (payload !== null && info.highBand !== '') {
      const described = descriptionsIn(payload, packets, info.channels, joint);
      if (described.end <= 0) throw new PayloadError('a payload has nothing but its high band');
      ofCore = payload.subarray(0, described.end);
      if (this.understood) told = described.told;
    }
    const { level, pcm } = codec.decode(ofCore, info, this.level, this.state);
    this.level = level;
    if (this.ofBand === null) return codec.copied(pcm, info);
    return codec.highBand!.join(this.bandStates, pcm, packets, told, payload === null, joint);
  }

  reset(begins: boolean): void {
    this.codec.begin(this.state);
    // Behind a gap, what is told next is nearer to what was told last than to nothing.
    if (begins && this.ofBand !== null) this.codec.begin(this.ofBand);
    this.level = 0;
  }
}

function checked(status: number): void {
  if (status < 0) throw new Error(`the codec does not work here (${status})`);
}

/** Handles; joint: 0 where there is none, jointStereo: hash of its tables, '' where there is none. */
interface Bitstreams {
  bitstream: number;
  joint: number;
  jointStereo: string;
}

/** Of mono and of joint stereo, from packed tables. */
function* opened(
  engine: Engine,
  tables: Uint8Array,
  jointStereo: Besides['jointStereo'],
): Pieces<Bitstreams> {
  const { sc_bitstream_open_packed, sc_bitstream_open_joint } = engine.call;
  const packed = engine.put(tables);
  const bytes = BigInt(tables.length);
  const bitstream = engine.opened(handle => sc_bitstream_open_packed(packed, bytes, 0, handle));
  let joint = 0;
  if (jointStereo !== null) {
    yield;
    const told = engine.put(jointStereo.data);
    const toldBytes = BigInt(jointStereo.data.length);
    try {
      joint = engine.opened(handle =>
        sc_bitstream_open_joint(packed, bytes, told, toldBytes, 0, handle),
      );
    } catch (error) {
      console.warn(error); // other streams are heard all the same
    }
    engine.free(told);
  }
  engine.free(packed);
  return { bitstream, joint, jointStereo: joint === 0 ? '' : jointStereo!.hash };
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

function addresses(...states: (State | null)[]): number[] {
  return states.flatMap(state => state?.address ?? []);
}

function joined(payload: Uint8Array, told: Uint8Array): Uint8Array {
  if (told.length === 0) return payload;
  const whole = new Uint8Array(payload.length + told.length);
  whole.set(payload);
  whole.set(told, payload.length);
  return whole;
}
