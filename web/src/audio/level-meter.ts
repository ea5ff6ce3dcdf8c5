// How loud sound is, for those who look at it.

import type { Level } from '../messages.ts';
import type { Pcm } from './pcm.ts';

const FLOOR_DB = -90;
const HALF_LIFE_S = 0.08; // of the level: fast enough for syllables
const PEAK_HELD_S = 1.5;
const FULL_SCALE = 0.999;
const SILENT = 10 ** (-75 / 20); // a microphone that is switched on hears more than that

/** Of a meter that has heard nothing. */
export const SILENCE: Level = { rmsDb: FLOOR_DB, peakDb: FLOOR_DB, clipping: false, silentS: 0 };

export class LevelMeter {
  private power = 0;
  private peak = 0;
  private peakAgeS = 0;
  private silentS = 0;

  /** sampleRate in Hz. */
  constructor(private readonly sampleRate: number) {}

  /** What comes next: power is the mean of its channels, the peak the highest of any. */
  add(pcm: Pcm): void {
    if (!pcm[0].length) return;
    const seconds = pcm[0].length / this.sampleRate;
    let energy = 0;
    let highest = 0;
    for (const plane of pcm) {
      for (const sample of plane) {
        energy += sample * sample;
        highest = Math.max(highest, Math.abs(sample));
      }
    }
    const kept = 0.5 ** (seconds / HALF_LIFE_S);
    this.power = kept * this.power + (1 - kept) * (energy / (pcm.length * pcm[0].length));
    this.peakAgeS += seconds;
    if (highest >= this.peak || this.peakAgeS > PEAK_HELD_S) {
      this.peak = highest;
      this.peakAgeS = 0;
    }
    this.silentS = highest < SILENT ? this.silentS + seconds : 0;
  }

  /** Of what was added so far. */
  get level(): Level {
    return {
      rmsDb: decibels(Math.sqrt(this.power)),
      peakDb: decibels(this.peak),
      clipping: this.peak >= FULL_SCALE,
      silentS: this.silentS,
    };
  }
}

/** An amplitude in dB of full scale, at least FLOOR_DB. */
function decibels(amplitude: number): number {
  return Math.max(FLOOR_DB, 20 * Math.log10(Math.max(amplitude, 1e-9)));
}
