// The band above the core's, over the engine: two bytes describe it, for each packet of each
// channel; one is often enough for the second channel of joint stereo.

import { type Pcm, silence } from '../audio/pcm.ts';
import type { Engine } from './engine.ts';
import type { ModelFacts } from './model-file.ts';
import { bandsOfNoise, lengthOfBands, type Noise } from './noise.ts';
import type { Pieces } from './pieces.ts';
import type { HighBandTables } from './tables-file.ts';

const HIGH_BAND_BYTES = 2;
const REFINED = 128; // a second channel's last byte, from here on, has another one before it
const FLOAT_BYTES = 4;

/** Opened tables; any number of streams share them. */
export class HighBand {
  readonly hash: string;
  readonly widening: number;
  readonly lag: number;
  /** Of one channel, of either way; zeros are one that has heard nothing. */
  readonly stateBytes: number;
  private readonly band: number;
  private readonly core: number;
  private readonly pcm: number;
  private readonly told: number;
  private readonly packetSamples: number; // of the core
  private readonly noise: Noise;
  private readonly bandsAt: number;

  /**
   * `facts`: the core's. There is silence above its band until `noisy` is done. Throws an Error for
   * tables that the engine refuses.
   */
  constructor(
    readonly engine: Engine,
    facts: ModelFacts,
    tables: HighBandTables,
  ) {
    const { hash, widening, lag, data, noise } = tables;
    [this.hash, this.widening, this.lag] = [hash, widening, lag];
    const bytes = data.length + FLOAT_BYTES * lengthOfBands(noise);
    const packed = engine.allocate(bytes); // must outlive what is opened
    engine.bytes(packed, data.length).set(data);
    this.noise = noise;
    this.bandsAt = packed + data.length;
    const { sc_high_band_open: open, sc_high_band_state_bytes: stateBytes } = engine.call;
    this.band = engine.opened(handle => open(packed, BigInt(bytes), 0, handle));
    this.stateBytes = Number(stateBytes(this.band));
    this.packetSamples = facts.packetSamples;
    this.core = engine.allocate(FLOAT_BYTES * this.packetSamples);
    this.pcm = engine.allocate(FLOAT_BYTES * this.packetSamples * widening);
    this.told = engine.allocate(2 * HIGH_BAND_BYTES); // of each channel
  }

  /** Makes the noise, which takes longer than anybody should wait for the first sound. */
  noisy(): Pieces<void> {
    return bandsOfNoise(this.noise, (pcm, band) => {
      const at = this.bandsAt + FLOAT_BYTES * band * pcm.length;
      this.engine.floats(at, pcm.length).set(pcm);
    });
  }

  /**
   * pcm: a packet at the full rate -> the core's sound, and what describes the rest: nothing, unless
   * it `describes`.
   */
  split(
    state: number,
    pcm: Float32Array,
    describes: boolean,
  ): { core: Float32Array; told: Uint8Array } {
    const { engine } = this;
    engine.floats(this.pcm, pcm.length).set(pcm);
    const told = describes ? this.told : 0;
    const size = engine.call.sc_high_band_split(this.band, state, this.pcm, 0, this.core, told);
    const core = engine.floats(this.core, this.packetSamples).slice();
    return { core, told: engine.bytes(this.told, size).slice() };
  }

  /**
   * core [channels, packets]: address of a payload's sound as the core's decoder has made it;
   * `states` [channels]; `told`: what describes the rest, as `descriptionsIn` has it, null where
   * nothing does -> pcm at the full rate in -1..1.
   */
  join(
    states: number[],
    core: number,
    packets: number,
    told: Uint8Array[] | null,
    lost: boolean,
    joint: boolean,
  ): Pcm {
    const { engine, packetSamples, widening } = this;
    const samples = packetSamples * widening;
    const joined = silence(states.length, samples * packets);
    for (let p = 0; p < packets; p++) {
      for (let c = 0; c < states.length; c++) {
        const from = core + FLOAT_BYTES * packetSamples * (c * packets + p);
        const said = told === null ? null : told[p * states.length + c];
        const at = this.told + HIGH_BAND_BYTES * c;
        if (said !== null) engine.bytes(at, said.length).set(said);
        engine.call.sc_high_band_join(
          ...[this.band, states[c], from, said === null ? 0 : at, said?.length ?? 0],
          ...[joint && c === 1 ? this.told : 0, lost ? 1 : 0, this.pcm],
        );
        const pcm = engine.floats(this.pcm, samples);
        const plane = joined[c];
        const to = p * samples;
        for (let t = 0; t < samples; t++) plane[to + t] = clipped(pcm[t]);
      }
    }
    return joined;
  }
}

/**
 * What the end of a payload says of the high band, channels within packets of 20 ms, and how long
 * the rest is: nothing, or less, where it holds nothing else.
 */
export function descriptionsIn(
  payload: Uint8Array,
  packets: number,
  channels: number,
  joint: boolean,
): { told: Uint8Array[]; end: number } {
  const told: Uint8Array[] = [];
  let end = payload.length;
  for (let n = packets * channels - 1; n >= 0 && end > 0; n--) {
    const short = joint && n % 2 === 1 && payload[end - 1] < REFINED;
    const begin = end - (short ? 1 : HIGH_BAND_BYTES);
    told.unshift(payload.subarray(Math.max(0, begin), end));
    end = begin;
  }
  return { told, end };
}

/** What a page knows of the sound that it encodes and decodes: sizes are at the full rate. */
export interface SoundFacts extends ModelFacts {
  /** How many times the rate that streams have on the wire that of the sound is. */
  widening: number;
  /** 16 hex digits of the high band's tables; '' where the sound is the core's. */
  highBand: string;
}

/** `facts`: the core's. */
export function soundFacts(facts: ModelFacts, band: HighBand | null): SoundFacts {
  if (band === null) return { ...facts, widening: 1, highBand: '' };
  const { widening, hash: highBand, lag: overlap } = band;
  const sampleRate = facts.sampleRate * widening;
  const packetSamples = facts.packetSamples * widening;
  return { ...facts, sampleRate, packetSamples, overlap, widening, highBand };
}

function clipped(sample: number): number {
  return sample > 1 ? 1 : sample < -1 ? -1 : sample;
}
