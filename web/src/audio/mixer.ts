// Several talkers as one signal, each as loud as the user wants.

import { channelOf, type Pcm, silence } from './pcm.ts';

const KNEE = 0.8; // below it a sum is not changed

/**
 * Volumes in dB; who is not to be heard. Whoever comes back under the same name, with another number
 * of their stream, is as loud as before; of several with one name each by themselves.
 */
export class Volumes {
  overallDb = 0;
  private readonly personDb = new Map<string, number>(); // by `person`
  private readonly unheard = new Set<string>();
  private readonly people = new Map<number, string>(); // by stream, also of those that ended
  private readonly present = new Set<number>(); // streams
  private readonly reached = new Map<number, number>(); // gains by stream

  /** A stream begins, or goes on. */
  join(stream: number, name: string): void {
    this.present.delete(stream);
    const taken = new Set([...this.present].map(other => this.person(other)));
    const namesakes = Array.from({ length: taken.size + 1 }, (_, n) => `${n} ${name}`);
    const own = namesakes.includes(this.person(stream)) ? [this.person(stream)] : [];
    this.people.set(
      stream,
      [...own, ...namesakes].find(person => !taken.has(person))!,
    );
    this.present.add(stream);
  }

  /** A stream ended; null: all of them. */
  leave(stream: number | null): void {
    if (stream === null) this.present.clear();
    else this.present.delete(stream);
  }

  set(stream: number, decibels: number): void {
    this.personDb.set(this.person(stream), decibels);
  }

  hear(stream: number, heard: boolean): void {
    if (heard) this.unheard.delete(this.person(stream));
    else this.unheard.add(this.person(stream));
  }

  heard(stream: number): boolean {
    return !this.unheard.has(this.person(stream));
  }

  of(stream: number): number {
    return this.personDb.get(this.person(stream)) ?? 0;
  }

  /**
   * What the next samples of a stream are multiplied by: from what it was before to what it is to
   * be, since a step would click.
   */
  fade(stream: number): { from: number; gain: number } {
    const gain = this.heard(stream) ? 10 ** ((this.overallDb + this.of(stream)) / 20) : 0;
    const from = this.reached.get(stream) ?? gain;
    this.reached.set(stream, gain);
    return { from, gain };
  }

  private person(stream: number): string {
    return this.people.get(stream) ?? '';
  }
}

/** A talker's sound, and what it is multiplied by, from its beginning to its end. */
export interface Part {
  pcm: Pcm;
  from: number;
  gain: number;
}

/**
 * The sum of parts of `samples` each, with as many channels as any of them has, at least one; a
 * single channel is heard on all. What would exceed full scale is bent below it, smoothly.
 */
export function mixed(parts: Part[], samples: number): Pcm {
  const mix = silence(Math.max(1, ...parts.map(({ pcm }) => pcm.length)), samples);
  mix.forEach((sum, c) => {
    for (const { pcm, from, gain } of parts) add(sum, channelOf(pcm, c), from, gain);
    bend(sum);
  });
  return mix;
}

function add(sum: Float32Array, samples: Float32Array, from: number, to: number): void {
  const step = (to - from) / sum.length;
  for (let t = 0; t < sum.length; t++) sum[t] += (from + step * (t + 1)) * samples[t];
}

function bend(sum: Float32Array): void {
  for (let t = 0; t < sum.length; t++) {
    const size = Math.abs(sum[t]);
    if (size > KNEE) {
      sum[t] = Math.sign(sum[t]) * (KNEE + (1 - KNEE) * Math.tanh((size - KNEE) / (1 - KNEE)));
    }
  }
}
