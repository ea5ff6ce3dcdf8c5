// What a receiver can tell of a network and a call: jitter, drift of the talker's clock, and the
// E-model's rating. Sans-I/O.

// Drift is the slope of a line through the quickest packet of each block: those met no queue, so
// their transit times differ by the drift of the clocks alone.
const BLOCK_MS = 10_000;
const LEAST_BLOCKS = 3;
const MOST_BLOCKS = 30;
const JITTER_SHARE = 16; // RFC 3550: each packet moves the estimate by a sixteenth
const ROBUSTNESS = 10; // G.113's Bpl, for a codec that conceals

/** The quickest packet of a block, and when it came. */
interface Quickest {
  transitMs: number;
  atMs: number;
}

/** Jitter and drift of one stream. Call `arrived` for every packet, late ones too. */
export class ArrivalStatistics {
  /**
   * Interarrival jitter of RFC 3550: the smoothed difference between the transit times of
   * successive packets.
   */
  jitterMs = 0;
  /**
   * How much slower the talker's clock runs than ours; null before there is half a minute to judge
   * by. A change of route looks like drift for five minutes.
   */
  driftPpm: number | null = null;
  private lastTransitMs: number | null = null;
  private blockBeganMs = 0;
  private block: Quickest | null = null;
  private blocks: Quickest[] = [];

  /** `mediaMs`: time of capture by the talker's clock, from any origin, unwrapped. */
  arrived(mediaMs: number, nowMs: number): void {
    const transitMs = nowMs - mediaMs;
    if (this.lastTransitMs !== null) {
      this.jitterMs += (Math.abs(transitMs - this.lastTransitMs) - this.jitterMs) / JITTER_SHARE;
    }
    this.lastTransitMs = transitMs;
    if (this.block === null) {
      this.blockBeganMs = nowMs;
    } else if (nowMs - this.blockBeganMs >= BLOCK_MS) {
      this.blocks.push(this.block);
      if (this.blocks.length > MOST_BLOCKS) this.blocks.shift();
      this.driftPpm = driftPpm(this.blocks);
      this.block = null;
      this.blockBeganMs = nowMs;
    }
    if (this.block === null || transitMs < this.block.transitMs) {
      this.block = { transitMs, atMs: nowMs };
    }
  }

  /** Capture times begin anew, from another origin. */
  restart(): void {
    this.lastTransitMs = this.block = this.driftPpm = null;
    this.blocks = [];
  }
}

/** Slope of transit time over time, least squares. */
function driftPpm(blocks: readonly Quickest[]): number | null {
  if (blocks.length < LEAST_BLOCKS) return null;
  const meanAt = blocks.reduce((sum, { atMs }) => sum + atMs, 0) / blocks.length;
  const meanTransit = blocks.reduce((sum, { transitMs }) => sum + transitMs, 0) / blocks.length;
  let [spread, products] = [0, 0];
  for (const { transitMs, atMs } of blocks) {
    spread += (atMs - meanAt) ** 2;
    products += (atMs - meanAt) * (transitMs - meanTransit);
  }
  return (1e6 * products) / spread;
}

/**
 * E-model rating R, 0 to 93.2, of a call with this delay from mouth to ear and this share of
 * packets concealed; the codec counts as transparent.
 *
 * Source: ITU-T G.107 as simplified by Cole and Rosenbluth (2001): echo-free delay, and packets
 * lost at random.
 */
export function transmissionRating(delayMs: number, lostShare: number): number {
  const delay = 0.024 * delayMs + 0.11 * Math.max(0, delayMs - 177.3);
  const loss = lostShare ? (95 * lostShare) / (lostShare + ROBUSTNESS / 100) : 0;
  return Math.max(0, 93.2 - delay - loss);
}

/**
 * Rating R -> mean opinion score, 1 to 4.41 (ITU-T G.107, annex B). Throws RangeError for a rating
 * that is not finite.
 */
export function meanOpinion(rating: number): number {
  if (!Number.isFinite(rating)) throw new RangeError(`rating must be a number, got ${rating}`);
  const r = Math.min(100, Math.max(0, rating));
  return Math.max(1, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r));
}
