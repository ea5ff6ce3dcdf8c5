// What is heard of a talker while packets are missing: the decoder's own concealment, which fades
// into comfort noise, which fades to silence when nothing comes any more. Sans-I/O.

import { type Pcm, silence } from '../audio/pcm.ts';
import { DTX, VOICE } from '../wire/flags.ts';
import { ComfortNoise } from './comfort-noise.ts';

const SPLICE_MS = 2.5; // a fade this long hides the step where two pieces of sound meet
// The decoder's concealment sounds natural for a while; between these two durations of loss the
// comfort noise takes its place.
const CONTINUED_MS = 60;
const BACKGROUND_MS = 160;

/**
 * A line that has been dead for so long fades to silence over FADE_OUT_MS: noise that went on would
 * sound like a talker who is merely quiet.
 */
export const DEAD_MS = 3_000;

const FADE_OUT_MS = 1_000;

/**
 * Conceals the losses of one talker, and splices sound that does not continue what was heard.
 *
 * Give it every packet in the order of playing: `packet` for a decoded one, `concealed` for the
 * decoder's substitute of a missing one. Where there is neither, `background` fills the time of an
 * announced pause or of a loss, and `silence` ends the talker. `heard` tells it what was played in
 * the end, so that the next splice starts from there.
 */
export class LossFade {
  private readonly samplesPerMs: number;
  private readonly packetMs: number;
  private readonly noise: ComfortNoise;
  private noiseShare = 0; // of comfort noise in what is heard, 0 to 1
  private lastSamples: Float32Array; // of each channel
  private paused = false; // the talker announced that it sends nothing for now (DTX)
  private begun = false; // there was a packet: what is missing now is a loss
  private missingMs = 0;

  /** sampleRate in Hz; `random` (uniform, 0 <= x < 1) draws the comfort noise. */
  constructor(
    sampleRate: number,
    channels: number,
    packetSamples: number,
    random: () => number = Math.random,
  ) {
    this.samplesPerMs = sampleRate / 1000;
    this.packetMs = (packetSamples * 1000) / sampleRate;
    this.noise = new ComfortNoise(sampleRate, channels, random);
    this.lastSamples = new Float32Array(channels);
  }

  /** For how long packets have been missing; 0 once one is played again. */
  get lostMs(): number {
    return this.missingMs;
  }

  /** The loss is short enough for the decoder's concealment to be heard. */
  get continues(): boolean {
    return this.missingMs > 0 && this.noiseShare < 1;
  }

  /** What was heard last ended in silence: stopping here makes no click. */
  get silent(): boolean {
    return this.lastSamples.every(sample => sample === 0);
  }

  /**
   * A decoded packet [T] -> what is heard in its place, [T].
   *
   * `restarts`: the decoder was reset before it. `substitute`: its payload was broken, and `pcm` is
   * the decoder's concealment.
   */
  packet(pcm: Pcm, flags: number, restarts: boolean, substitute = false): Pcm {
    const wasPaused = this.paused;
    this.paused = (flags & DTX) !== 0;
    if (!substitute) this.noise.learn(pcm, (flags & VOICE) !== 0);
    let heard = pcm;
    // The packet describes the background; the same noise goes on through the pause.
    if (this.paused) heard = this.noise.make(pcm[0].length, false);
    if (restarts || this.paused !== wasPaused) heard = this.spliced(heard);
    if (substitute) return this.concealed(heard);
    this.begun = true;
    this.missingMs = 0;
    return this.crossfaded(heard, 0, this.spliceSamples(heard[0].length));
  }

  /**
   * The decoder's substitute for a missing packet [T] -> the same, faded into comfort noise by how
   * long the loss has lasted.
   */
  concealed(pcm: Pcm): Pcm {
    this.begun = true;
    this.missingMs += this.packetMs;
    const share = (this.missingMs - CONTINUED_MS) / (BACKGROUND_MS - CONTINUED_MS);
    // Behind a pause there is noise already, and nothing of before to go on with.
    return this.crossfaded(pcm, Math.min(1, Math.max(this.noiseShare, share)), pcm[0].length);
  }

  /** [samples] of comfort noise, for a pause or a loss that outlasts the concealment. */
  background(samples: number): Pcm {
    let pcm = this.noise.make(samples, !this.paused);
    if (!this.paused && this.begun) {
      if (this.noiseShare < 1) {
        pcm = this.spliced(pcm);
        this.noiseShare = 1;
      }
      this.missingMs += samples / this.samplesPerMs;
      const gain = Math.min(1, Math.max(0, 1 - (this.missingMs - DEAD_MS) / FADE_OUT_MS));
      pcm = pcm.map(plane => plane.map(sample => sample * gain));
    }
    this.heard(pcm);
    return pcm;
  }

  /** [samples] of silence, into which what was heard last fades. */
  silence(samples: number): Pcm {
    const pcm = this.spliced(silence(this.lastSamples.length, samples));
    this.lastSamples.fill(0);
    return pcm;
  }

  /** [T], any T: what was made audible of the last packet. */
  heard(pcm: Pcm): void {
    if (pcm[0].length) this.lastSamples = Float32Array.from(pcm, plane => plane[plane.length - 1]);
  }

  /** The announced pause is over; what is missing from now on counts as lost. */
  endPause(): void {
    this.paused = false;
  }

  /** The talker sends digital silence: there is no background to imitate. */
  forgetBackground(): void {
    this.noise.reset();
  }

  /** Moves the share of comfort noise to `share`, over `samples`. */
  private crossfaded(pcm: Pcm, share: number, samples: number): Pcm {
    const before = this.noiseShare;
    this.noiseShare = share;
    if (!before && !share) return pcm;
    const noise = this.noise.make(pcm[0].length, true);
    return pcm.map((plane, c) =>
      plane.map((sample, n) => {
        const here = n < samples ? before + ((share - before) * n) / samples : share;
        return sample * (1 - here) + noise[c][n] * here;
      }),
    );
  }

  /** Adds the last sample that was heard, fading out over SPLICE_MS: no step, no click. */
  private spliced(pcm: Pcm): Pcm {
    const samples = this.spliceSamples(pcm[0].length);
    return pcm.map((plane, c) => {
      const last = this.lastSamples[c];
      return plane.map((sample, n) => (n < samples ? sample + (1 - n / samples) * last : sample));
    });
  }

  private spliceSamples(most: number): number {
    return Math.min(most, Math.round(SPLICE_MS * this.samplesPerMs));
  }
}
