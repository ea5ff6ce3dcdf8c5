// When a talker's packets carry copies of earlier ones: while listeners report losses.

import type { Report } from '../wire/messages.ts';
import { USUAL_COPY_DISTANCE } from '../wire/redundancy.ts';

/** Over which a listener's losses are judged. */
const WINDOW_MS = 10_000;
/** Share of lost packets from which on copies are sent. */
const LOSSY = 0.01;
/** Packets in the window: fewer are chance. */
const LEAST_LOST = 5;
/** Share below which a listener loses nothing worth a copy. */
const CALM = 0.005;
/** For which all listeners must be calm before copies end. */
const CALM_MS = 30_000;
/** As many listeners are watched at most; there is no limit to what a relay sends. */
const MOST_LISTENERS = 64;

interface Counts {
  atMs: number;
  received: number;
  lost: number;
}

/** How many packets back the copies lie that a talker sends. */
export class CopyPolicy {
  /** What the stream's info announces. */
  readonly offered = USUAL_COPY_DISTANCE;
  readonly #watch = new LossWatch();
  #sending = false;
  #taken = 0;

  /** How far back a copy may lie that any listener takes; 0 also while that is not known. */
  take(farthest: number): void {
    this.#taken = farthest;
  }

  /** A listener's report came. */
  add(report: Report, nowMs: number): void {
    this.#sending = this.#watch.lossy(report, nowMs);
  }

  /** 0: none is to be sent. */
  get distance(): number {
    return this.#sending ? Math.min(this.#taken, this.offered) : 0;
  }
}

/** Whether any listener loses packets. */
class LossWatch {
  readonly #counts = new Map<string, Counts[]>(); // by listener, the latest last
  #lossy = false;
  #restlessMs = 0; // when a listener was last not calm

  /** Takes a report. -> whether there are losses, as far as all reports say. */
  lossy(report: Report, nowMs: number): boolean {
    const [share, lost] = this.#latestLosses(report, nowMs);
    if (share >= CALM && lost > 0) this.#restlessMs = nowMs;
    if (share >= LOSSY && lost >= LEAST_LOST) this.#lossy = true;
    else if (nowMs - this.#restlessMs >= CALM_MS) this.#lossy = false;
    return this.#lossy;
  }

  /** -> share and number of the packets that a listener has lost within WINDOW_MS. */
  #latestLosses(report: Report, nowMs: number): [number, number] {
    const { received, lost } = report.statistics;
    if (received === undefined || lost === undefined) return [0, 0];
    const counts = this.#countsOf(`${report.listener} ${report.name}`);
    const latest = counts.at(-1);
    if (latest !== undefined && (received < latest.received || lost < latest.lost)) {
      counts.length = 0; // it counts anew
    }
    counts.push({ atMs: nowMs, received, lost });
    while (counts.length > 2 && counts[1].atMs <= nowMs - WINDOW_MS) counts.shift();
    const came = received - counts[0].received;
    const missed = lost - counts[0].lost;
    return [missed / Math.max(1, came + missed), missed];
  }

  #countsOf(listener: string): Counts[] {
    const counts = this.#counts.get(listener) ?? [];
    this.#counts.delete(listener);
    this.#counts.set(listener, counts);
    if (this.#counts.size > MOST_LISTENERS) {
      this.#counts.delete(this.#counts.keys().next().value!);
    }
    return counts;
  }
}
