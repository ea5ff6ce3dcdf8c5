// Several talkers as one signal, each as loud as the user wants.

import { channelOf, type Pcm, silence } from './pcm.ts';

const KNEE = 0.8; // below it a sum is not changed

/** Volumes in dB by stream; who is not to be heard. */
export class Volumes {
  overallDb = 0;
  private readonly streamDb = new Map<number, number>();
  private readonly unheard = new Set<number>();

  set(stream: number, decibels: number): void {
    this.streamDb.set(stream, decibels);
  }

  hear(stream: number, heard: boolean): void {
    if (heard) this.unheard.delete(stream);
    else this.unheard.add(stream);
  }

  heard(stream: number): boolean {
    return !this.unheard.has(stream);
  }

  of(stream: number): number {
    return this.streamDb.get(stream) ?? 0;
  }

  /** What samples of a stream are multiplied by. */
  gain(stream: number): number {
    return this.heard(stream) ? 10 ** ((this.overallDb + this.of(stream)) / 20) : 0;
  }

  /** The relay may give the number of a stream that ended to somebody else. */
  forget(stream: number): void {
    this.streamDb.delete(stream);
    this.unheard.delete(stream);
  }
}

/** A talker's sound, and what it is multiplied by. */
export interface Part {
  pcm: Pcm;
  gain: number;
}

/**
 * The sum of parts of `samples` each, with as many channels as any of them has, at least one; a
 * single channel is heard on all. What would exceed full scale is bent below it, smoothly.
 */
export function mixed(parts: Part[], samples: number): Pcm {
  const mix = silence(Math.max(1, ...parts.map(({ pcm }) => pcm.length)), samples);
  mix.forEach((sum, c) => {
    for (const { pcm, gain } of parts) add(sum, channelOf(pcm, c), gain);
    bend(sum);
  });
  return mix;
}

function add(sum: Float32Array, samples: Float32Array, gain: number): void {
  for (let t = 0; t < sum.length; t++) sum[t] += gain * samples[t];
}

function bend(sum: Float32Array): void {
  for (let t = 0; t < sum.length; t++) {
    const size = Math.abs(sum[t]);
    if (size > KNEE) {
      sum[t] = Math.sign(sum[t]) * (KNEE + (1 - KNEE) * Math.tanh((size - KNEE) / (1 - KNEE)));
    }
  }
}
