// The noise of the high band, in bands.

import { RealFft } from '../audio/fft.ts';
import type { Pieces } from './pieces.ts';

/** Frequencies are shares of the sample rate. */
export interface Noise {
  samples: Int8Array;
  /** So many of them follow once more, behind the last. */
  repeated: number;
  /** Root of the mean power that each band is to have. */
  level: number;
  /** Where bands begin, and where the last ends. */
  edges: number[];
  /** Over which neighbours meet. */
  slope: number;
}

/** How long all bands together are, in samples. */
export function lengthOfBands({ samples, repeated, edges }: Noise): number {
  return (edges.length - 1) * (samples.length + repeated);
}

/** Gives each band to `made`, as bands_of_noise in streamcodec/coding/high_band.py makes them. */
export function* bandsOfNoise(
  { samples, repeated, level, edges, slope }: Noise,
  made: (pcm: Float32Array, band: number) => void,
): Pieces<void> {
  const count = samples.length;
  const fft = new RealFft(count);
  const [re, im] = [new Float64Array(fft.bins), new Float64Array(fft.bins)];
  fft.forward(samples, re, im);
  yield;
  const [bandRe, bandIm] = [new Float64Array(fft.bins), new Float64Array(fft.bins)];
  const pcm = new Float32Array(count + repeated);
  for (let b = 0; b + 1 < edges.length; b++) {
    bandRe.fill(0);
    bandIm.fill(0);
    const first = Math.max(0, Math.floor((edges[b] - slope) * count));
    const last = Math.min(fft.bins, Math.ceil((edges[b + 1] + slope) * count));
    for (let k = first; k < last; k++) {
      const begun = within((k / count - edges[b]) / slope + 0.5);
      const share = Math.sqrt(begun * within((edges[b + 1] - k / count) / slope + 0.5));
      bandRe[k] = share * re[k];
      bandIm[k] = share * im[k];
    }
    const band = fft.inverse(bandRe, bandIm);
    let energy = 0;
    for (let t = 0; t < count; t++) energy += band[t] * band[t];
    const gain = level / Math.sqrt(energy / count);
    for (let t = 0; t < count; t++) pcm[t] = gain * band[t];
    pcm.copyWithin(count, 0, repeated);
    made(pcm, b);
    yield;
  }
}

function within(share: number): number {
  return Math.min(1, Math.max(0, share));
}
