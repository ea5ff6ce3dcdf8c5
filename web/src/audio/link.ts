// The worker's ends of the ways to the AudioWorklets (worklet.ts has the others). What travels
// beside samples:

import type { SoundLink } from '../messages.ts';
import type { Pcm } from './pcm.ts';
import { Ring } from './ring.ts';

/** From the player: samples it has played since the beginning, and how often it had none. */
export interface Played {
  played: number;
  dry: number;
}

/**
 * From the microphone: samples, if they do not lie in a ring, and how many were lost since the
 * beginning because nobody fetched them.
 */
export interface Captured {
  pcm: Float32Array | null;
  lost: number;
}

/** To the loudspeaker. */
export class Output {
  readonly sampleRate: number;
  /** How often the loudspeaker had nothing to play. */
  dry = 0;
  private readonly ring: Ring | null;
  private written = 0;
  private played = 0;

  /** `wanted` is called when samples were played, which is some 200 times a second. */
  constructor(
    private readonly link: SoundLink,
    wanted: () => void,
  ) {
    this.sampleRate = link.sampleRate;
    this.ring = link.memory === null ? null : new Ring(link.memory, link.channels);
    link.port.onmessage = (event: MessageEvent<Played>) => {
      this.played = event.data.played;
      this.dry = event.data.dry;
      wanted();
    };
  }

  /** Samples that it was given and has not played. */
  get waiting(): number {
    return this.ring?.waiting ?? this.written - this.played;
  }

  /** pcm: of one channel, which is heard on all, or of as many as the link has. */
  write(pcm: Pcm): void {
    this.written += pcm[0].length;
    if (this.ring !== null) {
      this.ring.write(pcm);
      return;
    }
    const buffers = pcm.map(plane => plane.buffer);
    this.link.port.postMessage(pcm, buffers);
  }

  close(): void {
    this.link.port.close();
  }
}

/** From the microphone. */
export class Input {
  private readonly ring: Ring | null;
  private lost = 0;

  /** `heard` is given what was captured, and how many samples before it were lost. */
  constructor(
    private readonly link: SoundLink,
    private readonly heard: (pcm: Float32Array, lost: number) => void,
  ) {
    this.ring = link.memory === null ? null : new Ring(link.memory, link.channels);
    link.port.onmessage = (event: MessageEvent<Captured>) => {
      const { pcm, lost } = event.data;
      const missing = lost - this.lost;
      this.lost = lost;
      heard(pcm ?? this.fetched(), missing);
    };
  }

  /** What lies in the ring is heard now: its message may come much later, to a busy worker. */
  drain(): void {
    const pcm = this.fetched();
    if (pcm.length > 0) this.heard(pcm, 0);
  }

  close(): void {
    this.link.port.close();
  }

  private fetched(): Float32Array {
    const pcm = new Float32Array(this.ring?.waiting ?? 0);
    this.ring?.read([pcm]);
    return pcm;
  }
}
