// Marks when something was captured by the relay's clock, so that listeners know our delay: with the
// first packets, after each gap, and each second.

import type { Capture } from '../wire/messages.ts';

/** Between marks. */
const INTERVAL_MS = 1_000;
const LEAST_INTERVAL_MS = 100;

/** Of one stream. Times are ms of our monotonic clock, unless they are the relay's. */
export class CaptureClock {
  #position = 0; // behind the last sample that was sent
  #capturedMs: number | null = null; // when that was captured; null before anything was sent
  #toldMs = -Infinity;
  #begun = true; // a packet after which listeners need a new mark

  /**
   * A packet was sent, whose last sample lies before `position` in the stream and was captured at
   * `capturedMs`. `begun`: it has RESET or DISCONTINUITY.
   */
  sent(position: number, capturedMs: number, begun: boolean): void {
    this.#position = position;
    this.#capturedMs = capturedMs;
    this.#begun ||= begun;
  }

  /**
   * What to tell now; null for nothing. `relayOffsetMs`: the relay's clock less ours; null while it
   * is not known.
   */
  due(nowMs: number, relayOffsetMs: number | null): Capture | null {
    if (this.#capturedMs === null || relayOffsetMs === null) return null;
    if (nowMs - this.#toldMs < (this.#begun ? LEAST_INTERVAL_MS : INTERVAL_MS)) return null;
    this.#toldMs = nowMs;
    this.#begun = false;
    return {
      type: 'capture',
      captureTime: this.#position % 2 ** 32,
      relayMs: this.#capturedMs + relayOffsetMs,
      stream: 0,
    };
  }
}
