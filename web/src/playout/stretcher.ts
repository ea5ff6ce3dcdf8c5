// Plays decoded packets faster or slower, as the playout buffer asks.

import type { Pcm } from '../audio/pcm.ts';
import { Resampler } from '../audio/resampler.ts';
import { isFine } from './speed.ts';
import { TimeScaler } from './time-scaler.ts';

/**
 * Fine speeds, which make up for clock drift, are met by resampling; all others by time scaling.
 * The resampler always runs, so that nothing clicks when a fine speed begins or ends.
 */
export class Stretcher {
  private readonly scaler: TimeScaler;
  private readonly resampler: Resampler;

  /** sampleRate in Hz. */
  constructor(sampleRate: number) {
    this.scaler = new TimeScaler(sampleRate);
    this.resampler = new Resampler(sampleRate, sampleRate);
  }

  /** pcm [T] -> [T']; T' is T / speed on average over several packets. */
  play(pcm: Pcm, speed: number): Pcm {
    const fine = isFine(speed);
    const scaled = this.scaler.scale(pcm, fine ? 1 : speed);
    return this.resampler.convert(scaled, fine ? speed : 1);
  }
}
