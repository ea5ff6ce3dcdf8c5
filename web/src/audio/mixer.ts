// Several talkers as one signal, each as loud as the user wants.

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

/** The sum of parts [T] each; what would exceed full scale is bent below it, smoothly. */
export function mixed(parts: { pcm: Float32Array; gain: number }[], samples: number): Float32Array {
  const sum = new Float32Array(samples);
  for (const { pcm, gain } of parts) for (let t = 0; t < samples; t++) sum[t] += gain * pcm[t];
  for (let t = 0; t < samples; t++) {
    const size = Math.abs(sum[t]);
    if (size > KNEE) {
      sum[t] = Math.sign(sum[t]) * (KNEE + (1 - KNEE) * Math.tanh((size - KNEE) / (1 - KNEE)));
    }
  }
  return sum;
}
