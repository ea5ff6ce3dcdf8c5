// The offset between the relay's clock and ours, and the round trip, as NTP measures them: we send
// our time, the relay answers with both, and we note when the answer comes.

import type { Time } from '../wire/messages.ts';

/** Of these the one with the shortest round trip is used: its two ways were the most alike. */
const KEPT_SAMPLES = 16;

interface Sample {
  roundTripMs: number;
  offsetMs: number;
}

/** Of one connection to a relay. Times are ms of our monotonic clock. */
export class ClockSync {
  #samples: Sample[] = [];

  /** Of the last answer; null before the first one. */
  get roundTripMs(): number | null {
    return this.#samples.at(-1)?.roundTripMs ?? null;
  }

  /** The relay's clock less ours, right to within half the round trip; null while not known. */
  get offsetMs(): number | null {
    if (this.#samples.length === 0) return null;
    return this.#samples.reduce((a, b) => (b.roundTripMs < a.roundTripMs ? b : a)).offsetMs;
  }

  /** What to send, often. */
  request(nowMs: number): Time {
    return { type: 'time', sentMs: nowMs, relayMs: 0 };
  }

  /** The relay has sent a request back. */
  answered(time: Time, nowMs: number): void {
    const roundTripMs = nowMs - time.sentMs;
    if (roundTripMs < 0) return;
    this.#samples.push({ roundTripMs, offsetMs: time.relayMs - time.sentMs - roundTripMs / 2 });
    if (this.#samples.length > KEPT_SAMPLES) this.#samples.shift();
  }

  /** The next connection may be to another relay. */
  forget(): void {
    this.#samples = [];
  }
}
