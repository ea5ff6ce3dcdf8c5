// What the lateness of packets is measured from: the transit time of the quickest packet of the
// last seconds. Sans-I/O: time is an argument.
//
// Transit is arrival by the listener's clock less capture by the talker's. Its origin is unknown,
// and it drifts as the clocks do, so that only differences mean anything.

const LONGEST_GAP_MS = 100; // a longer time without packets counts as so much of the window
const SLOWER_MS = 300; // packets must be hopelessly late for so long: the network is slower
// Where lateness falls by more than this (ms per ms), the backlog of an outage is being delivered:
// a network that has become slower delivers packets at the rate at which they were sent.
const DRAINING = 0.3;

export interface BaselineChange {
  /** At least 0: by how much the baseline rose because its quickest packet has become too old. */
  riseMs: number;
  /** The network has become slower, and its present transit is the baseline now. */
  replaced: boolean;
}

/**
 * The least transit within a sliding window of `windowMs`.
 *
 * Packets later than `hopelessMs`, as in an outage, do not advance the window: what was normal
 * before it must still be known after it.
 */
export class TransitBaseline {
  // Transits rise from left to right; atMs is a time in the window.
  private quickest: { atMs: number; transitMs: number }[] = [];
  private windowNowMs = 0;
  private lastArrivalMs: number | null = null;
  // The first of the packets that are hopelessly late now.
  private slowerSince: { sinceMs: number; firstMs: number } | null = null;

  constructor(
    private readonly windowMs: number,
    private readonly hopelessMs: number,
  ) {}

  /** Null before the first packet. */
  get ms(): number | null {
    return this.quickest.length ? this.quickest[0].transitMs : null;
  }

  add(transitMs: number, nowMs: number): BaselineChange {
    const beforeMs = this.ms;
    const hopeless = beforeMs !== null && transitMs - beforeMs > this.hopelessMs;
    if (this.lastArrivalMs !== null && !hopeless) {
      this.windowNowMs += Math.min(nowMs - this.lastArrivalMs, LONGEST_GAP_MS);
    }
    this.lastArrivalMs = nowMs;
    const quickest = this.quickest;
    while (quickest.length && quickest[quickest.length - 1].transitMs >= transitMs) quickest.pop();
    quickest.push({ atMs: this.windowNowMs, transitMs });
    const oldestMs = quickest[0].transitMs;
    while (this.windowNowMs - quickest[0].atMs > this.windowMs) quickest.shift();
    const riseMs = quickest[0].transitMs - oldestMs;
    return { riseMs, replaced: this.replaced(hopeless, transitMs, nowMs) };
  }

  /** A stream that begins anew has another origin of capture times. */
  forget(): void {
    this.quickest = [];
    this.slowerSince = null;
  }

  /**
   * Whether the network has become slower. Without this check, one that is slower than any delay
   * that is played would be silence until the window has slid.
   */
  private replaced(hopeless: boolean, transitMs: number, nowMs: number): boolean {
    if (!hopeless) {
      this.slowerSince = null;
      return false;
    }
    this.slowerSince ??= { sinceMs: nowMs, firstMs: transitMs };
    const { sinceMs, firstMs } = this.slowerSince;
    if (nowMs - sinceMs < SLOWER_MS) return false;
    this.slowerSince = null;
    if (firstMs - transitMs >= DRAINING * (nowMs - sinceMs)) return false;
    this.quickest = [{ atMs: this.windowNowMs, transitMs }];
    return true;
  }
}
