// How much sound a loudspeaker is given before its time. Time is an argument.

const RAISED_MS = 5; // each time it had nothing to play
const MOST_RAISED_MS = 40;
const LOWERED_MS_PER_S = 0.2;
const ONE_STALL_MS = 100; // a worker that was held up may leave it without sound several times
const COUNTED_MS = 10_000;
// While the browser compiles what runs for the first time, and devices start, stalls say nothing.
const SETTLING_MS = 4_000;

/**
 * As little as `leastMs`, and more for some time after the loudspeaker had nothing to play: a busy
 * machine wakes workers late.
 */
export class Lead {
  private raisedMs = 0;
  private atMs = 0; // when it was raised
  private dry = 0;
  private begunMs: number | null = null;
  private settled = false;
  private stalls: number[] = []; // when, within COUNTED_MS

  constructor(private readonly leastMs: number) {}

  ms(nowMs: number): number {
    const loweredMs = (LOWERED_MS_PER_S * (nowMs - this.atMs)) / 1000;
    return this.leastMs + Math.max(0, this.raisedMs - loweredMs);
  }

  /** The loudspeaker had nothing to play: so many times since the beginning. */
  ranDry(times: number, nowMs: number): void {
    this.begunMs ??= nowMs;
    if (!this.settled && nowMs - this.begunMs > SETTLING_MS) {
      this.settled = true;
      this.raisedMs = 0;
      this.stalls = [];
    }
    if (times === this.dry) return;
    if (this.dry === 0 || nowMs - this.atMs > ONE_STALL_MS) {
      const raisedMs = this.ms(nowMs) - this.leastMs + RAISED_MS;
      this.raisedMs = Math.min(MOST_RAISED_MS, raisedMs);
      this.atMs = nowMs;
      this.stalls.push(nowMs);
    }
    this.dry = times;
  }

  /** Stalls of the last ten seconds. */
  lately(nowMs: number): number {
    this.stalls = this.stalls.filter(atMs => nowMs - atMs < COUNTED_MS);
    return this.stalls.length;
  }
}
