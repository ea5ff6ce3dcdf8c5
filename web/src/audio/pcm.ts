// Sound of one channel or several.

/** Samples of each channel, [T], full scale 1: all are as long. */
export type Pcm = readonly Float32Array[];

export function silence(channels: number, samples: number): Pcm {
  return Array.from({ length: channels }, () => new Float32Array(samples));
}

/** Samples of a channel; where sound has a single one, that is heard on all. */
export function channelOf(pcm: Pcm, channel: number): Float32Array {
  return pcm[channel] ?? pcm[0];
}

/** Views of all channels from sample `begin` to before `end`. */
export function cut(pcm: Pcm, begin: number, end?: number): Pcm {
  return pcm.map(plane => plane.subarray(begin, end));
}

/** Parts of as many channels each, one behind the other; at least one part. */
export function joined(parts: readonly Pcm[]): Pcm {
  return parts[0].map((_, c) => concatenated(parts.map(part => part[c])));
}

/** The same of a single channel. */
export function concatenated(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Of its channels, [T]; of a single one itself. */
export function meanOf(pcm: Pcm): Float32Array {
  if (pcm.length === 1) return pcm[0];
  return pcm[0].map((_, t) => pcm.reduce((sum, plane) => sum + plane[t], 0) / pcm.length);
}

/** Of all channels. */
export function meanPower(pcm: Pcm): number {
  let energy = 0;
  for (const plane of pcm) for (const sample of plane) energy += sample * sample;
  return energy / (pcm.length * pcm[0].length);
}
