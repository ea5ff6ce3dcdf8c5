// Which quality level meets a mean bit rate: pure arithmetic on what was asked for and spent.

import type { EncoderFacts, StreamSettings } from './encoder.ts';

/** How far speech may run ahead of, or behind, its budget. */
const DEBT_LIMIT_S = 1;
const LEVELS_PER_DEBT_SECOND = 10;
/** Levels a second and relative error. */
const LEARNING_RATE = 0.3;
/** What describes the high band. */
const DESCRIPTION_BPS = 800;
/** Below, words suffer more by what that takes than the sound gains. */
const LEAST_FULL_BAND_BPS = 4_000;
/** What copies cost at most, without that. */
const COPY_BPS = 3_000;
/** Of a packet that carries one. */
const COPY_OVERHEAD_BYTES = 1;
// What copies may add to a target rate: an eighth of it, or what brings it to so many bit/s. The
// rest is saved in the packets themselves.
const COPIES_ON_TOP = 0.125;
const RATE_WITH_COPIES_BPS = 13_500;

/**
 * Mean rate, held within a budget of DEBT_LIMIT_S of audio: loud and busy packets may cost more,
 * pauses pay for them. `nextLevel` chooses a payload's level; `spent` tells what it cost, in bytes,
 * which need not be whole.
 *
 * Proportional on the debt, integral on the position; silence leaves no more than DEBT_LIMIT_S of
 * savings behind.
 */
export class TargetBitrate {
  /** The highest level that speech at this rate does not exceed in the mean. */
  readonly baseLevel: number;
  readonly #top: number;
  readonly #targetBps: number;
  readonly #payloadS: number;
  readonly #start: number;
  readonly #dither: Dither;
  #position: number;
  #debtS = 0;

  /** `levelBitratesBps`: of levels in ascending order. `payloadS`: seconds of a packet. */
  constructor(bitrateBps: number, levelBitratesBps: number[], payloadS: number) {
    this.#targetBps = bitrateBps;
    this.#payloadS = payloadS;
    this.#position = this.#start = positionFor(bitrateBps, levelBitratesBps);
    this.baseLevel = Math.floor(this.#start);
    this.#top = levelBitratesBps.length - 1;
    this.#dither = new Dither(levelBitratesBps.length);
  }

  nextLevel(): number {
    return this.#dither.level(this.#position - LEVELS_PER_DEBT_SECOND * this.#debtS);
  }

  spent(sizeBytes: number): void {
    const errorS = (sizeBytes * 8) / this.#targetBps - this.#payloadS;
    this.#debtS = within(-DEBT_LIMIT_S, this.#debtS + errorS, DEBT_LIMIT_S);
    this.#position = within(0, this.#position - LEARNING_RATE * errorS, this.#top);
  }

  reset(): void {
    this.#position = this.#start;
    this.#debtS = 0;
    this.#dither.reset();
  }
}

/**
 * Real positions on the level axis -> integer levels with the same mean: what rounding left over is
 * carried to the next.
 */
class Dither {
  readonly #top: number;
  #carry = 0;

  /** `levels`: how many there are. */
  constructor(levels: number) {
    this.#top = levels - 1;
  }

  level(position: number): number {
    const wanted = within(0, position, this.#top);
    const level = within(0, Math.floor(wanted + this.#carry + 0.5), this.#top);
    this.#carry = within(-0.5, this.#carry + wanted - level, 0.5);
    return level;
  }

  reset(): void {
    this.#carry = 0;
  }
}

/**
 * The mean rate of one channel that is aimed at where `bitrateBps` was asked for: at most what the
 * levels without the waveform layer spend, since a page does not encode the others.
 */
export function targetFor(facts: EncoderFacts, bitrateBps: number): number {
  const bitrates = wholeBitrates(facts);
  return within(bitrates[0], bitrateBps, bitrates[bitrates.length - 1]);
}

/** For a stream of that mean rate. */
export function rateControl(facts: EncoderFacts, bitrateBps: number): TargetBitrate {
  const payloadS = facts.packetSamples / facts.sampleRate;
  return new TargetBitrate(targetFor(facts, bitrateBps), wholeBitrates(facts), payloadS);
}

/** What the encoder of a stream of that mean rate must know. */
export function streamSettings(facts: EncoderFacts, bitrateBps: number): StreamSettings {
  const highBand = bitrateBps < LEAST_FULL_BAND_BPS ? '' : facts.highBand;
  const { baseLevel } = rateControl({ ...facts, highBand }, bitrateBps);
  const cheap = baseBitrates(facts).filter(rate => rate <= COPY_BPS);
  return { baseLevel, copyLevel: Math.min(Math.max(0, cheap.length - 1), baseLevel), highBand };
}

/** What of a copy the rate control must save: bytes, of one of `size` bytes. */
export function chargeOf(size: number, facts: EncoderFacts, bitrateBps: number): number {
  if (size === 0) return 0;
  const onTop = Math.max(COPIES_ON_TOP * bitrateBps, RATE_WITH_COPIES_BPS - bitrateBps);
  const free = (onTop * facts.packetSamples) / facts.sampleRate / 8;
  return Math.max(0, size + COPY_OVERHEAD_BYTES - free);
}

/**
 * Real position on the level axis whose speech costs `bitrateBps` in the mean, interpolated on a
 * logarithmic rate axis.
 */
export function positionFor(bitrateBps: number, levelBitratesBps: number[]): number {
  const wanted = Math.log(bitrateBps);
  const logs = levelBitratesBps.map(Math.log);
  for (let level = 0; level < logs.length - 1; level++) {
    if (wanted < logs[level + 1]) {
      return Math.max(0, level + (wanted - logs[level]) / (logs[level + 1] - logs[level]));
    }
  }
  return logs.length - 1;
}

/** Of whole payloads, at levels without the waveform layer. */
function wholeBitrates(facts: EncoderFacts): number[] {
  return baseBitrates(facts).map(rate => rate + (facts.highBand ? DESCRIPTION_BPS : 0));
}

function baseBitrates(facts: EncoderFacts): number[] {
  return facts.levelBitratesBps.slice(0, facts.baseLevels);
}

function within(low: number, value: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
