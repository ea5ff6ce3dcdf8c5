// How long packets should wait before they are played, from the lateness that the network shows.
// Sans-I/O: time is an argument.
//
// Lateness is by how much longer a packet took than the quickest of the last seconds. The target
// follows an upper quantile of a histogram of lateness that forgets: up at once and down slowly, as
// in WebRTC's NetEq. Unlike NetEq it never exceeds what the last seconds needed.

import { TransitBaseline } from './baseline.ts';

const BIN_MS = 5;
const BINS = 160; // up to 800 ms: beyond any delay that is played
const DESCENT_PACKETS_PER_S = 1; // how quickly a target goes down
const QUANTILE = 0.95; // of the histogram
// The worst lateness of each block enters the histogram, since a stall of 100 ms in two seconds is
// few packets and much concealment.
const BLOCK_MS = 500;
const FORGET = 0.983; // weight that the histogram keeps with each block
const RECENT_BLOCKS = 10; // the target is no more than the worst lateness of so many
const BASELINE_MS = 5_000; // lateness is measured from the quickest packet of so long
const FIRST_MS = 40; // the target while nothing is known

/** Weights of lateness in bins of BIN_MS, the newest heaviest; they add up to one. */
class LatenessHistogram {
  private readonly weights = new Float64Array(BINS);
  private count = 1;

  constructor(
    firstMs: number,
    private readonly forget: number,
  ) {
    this.weights[bin(firstMs)] = 1;
  }

  add(latenessMs: number): void {
    this.count += 1;
    const kept = Math.min(this.forget, 1 - 1 / this.count); // at first all count alike
    for (let index = 0; index < BINS; index++) this.weights[index] *= kept;
    this.weights[bin(latenessMs)] += 1 - kept;
  }

  /** Upper edge of the bin in which the cumulative weight reaches `share`. */
  quantileMs(share: number): number {
    let total = 0;
    for (let index = 0; index < BINS; index++) {
      total += this.weights[index];
      if (total >= share) return (index + 1) * BIN_MS;
    }
    return BINS * BIN_MS;
  }
}

function bin(latenessMs: number): number {
  return Math.min(BINS - 1, Math.max(0, Math.ceil(latenessMs / BIN_MS) - 1));
}

/**
 * How long the quickest packet should wait, between `minMs` and `maxMs`.
 *
 * Call `arrived` for every packet, also for those that are dropped afterwards.
 */
export class DelayTarget {
  private readonly descentMsPerMs: number;
  private readonly baseline: TransitBaseline;
  private readonly histogram: LatenessHistogram;
  private blockBeganMs: number | null = null;
  private blockWorstMs = 0;
  private recent: number[] = []; // worst lateness of the last RECENT_BLOCKS
  private inOutage = false;
  private targetMs: number;
  private changedMs = 0;

  constructor(
    packetMs: number,
    private readonly minMs: number,
    private readonly maxMs: number,
  ) {
    this.descentMsPerMs = (packetMs * DESCENT_PACKETS_PER_S) / 1000;
    const firstMs = Math.min(maxMs, Math.max(minMs, FIRST_MS));
    this.baseline = new TransitBaseline(BASELINE_MS, maxMs);
    this.histogram = new LatenessHistogram(firstMs, FORGET);
    this.targetMs = firstMs;
  }

  /** `mediaMs`: time of capture by the sender's clock, from any origin. */
  arrived(mediaMs: number, nowMs: number): void {
    const transitMs = nowMs - mediaMs;
    const change = this.baseline.add(transitMs, nowMs);
    if (change.riseMs > 0) this.followBaseline(change.riseMs);
    if (change.replaced) this.blockWorstMs = 0;
    if (this.blockBeganMs === null) this.blockBeganMs = this.changedMs = nowMs;
    if (nowMs - this.blockBeganMs >= BLOCK_MS) this.endBlock(nowMs);
    const baselineMs = this.baseline.ms ?? transitMs;
    this.blockWorstMs = Math.max(this.blockWorstMs, transitMs - baselineMs);
    this.inOutage ||= this.blockWorstMs > this.maxMs;
    this.updateTarget(nowMs);
  }

  /**
   * Transit of the quickest packet of the last seconds: arrival less capture time. Null before the
   * first.
   */
  get baselineMs(): number | null {
    return this.baseline.ms;
  }

  get ms(): number {
    return this.targetMs;
  }

  /** In this block a packet was later than any delay that is played. */
  get outage(): boolean {
    return this.inOutage;
  }

  /**
   * A stream that begins anew has another origin of capture times; how the network behaves is still
   * known.
   */
  forgetBaseline(): void {
    this.baseline.forget();
  }

  /**
   * Lateness is measured from a later time now, and is less by as much: the delay that is played
   * stays as it is.
   */
  private followBaseline(riseMs: number): void {
    this.targetMs = Math.max(this.minMs, this.targetMs - riseMs);
    this.blockWorstMs = Math.max(0, this.blockWorstMs - riseMs);
    this.recent = this.recent.map(worstMs => Math.max(0, worstMs - riseMs));
  }

  /**
   * An outage enters no statistics: no delay that is played would bridge it, and it says nothing of
   * what follows.
   */
  private endBlock(nowMs: number): void {
    if (!this.inOutage) {
      this.histogram.add(this.blockWorstMs);
      this.recent.push(this.blockWorstMs);
      if (this.recent.length > RECENT_BLOCKS) this.recent.shift();
    }
    this.blockBeganMs = nowMs;
    this.blockWorstMs = 0;
    this.inOutage = false;
  }

  private updateTarget(nowMs: number): void {
    let wantedMs = this.histogram.quantileMs(QUANTILE);
    if (this.recent.length === RECENT_BLOCKS) {
      wantedMs = Math.min(wantedMs, Math.max(...this.recent, this.blockWorstMs) + BIN_MS);
    }
    wantedMs = Math.min(this.maxMs, Math.max(this.minMs, wantedMs));
    const loweredMs = this.targetMs - (nowMs - this.changedMs) * this.descentMsPerMs;
    this.targetMs = Math.max(wantedMs, loweredMs);
    this.changedMs = nowMs;
  }
}
