// How a call with one talker is, as its listener can tell: jitter, clock drift, concealed packets,
// delay from mouth to ear, and the rating that the E-model gives to these. Sans-I/O.

import { RESET, sequenceDistance } from '../wire/flags.ts';
import { DEAD_MS } from './loss-fade.ts';
import { ArrivalStatistics, meanOpinion, transmissionRating } from './network-quality.ts';
import { Unwrapper } from './sequence.ts';

// What a talker says of its clock may be anything: a delay beyond that is not known.
const MOST_DELAY_MS = 60_000;
const JUDGED = 500; // packets that the concealed share is of: ten seconds of 20 ms

/** Sample `captureTime` of a stream was captured when the relay's clock showed relayMs. */
export interface CaptureMark {
  captureTime: number;
  relayMs: number;
}

/** What a listener can say of a call. Null: not known yet. */
export interface CallRating {
  /** Interarrival jitter of RFC 3550. */
  jitterMs: number;
  /** How much slower the talker's clock runs than ours. */
  driftPpm: number | null;
  /** From capture to the loudspeaker. */
  mouthToEarMs: number | null;
  /** Of the last 500 packets. */
  concealedPercent: number;
  /** The E-model's mean opinion score, 1 to 4.41. */
  mos: number | null;
}

/**
 * Judges one talker's stream. Tell it of every packet that `arrived`, every one that was `played`,
 * and for how long packets have been `missing`; and, for the delay, where in a block a packet
 * `begins` and when that block is `heard`.
 */
export class CallQuality {
  /** From capture to the loudspeaker; null: not known. */
  mouthToEarMs: number | null = null;
  private readonly perSampleMs: number;
  private readonly packetMs: number;
  private readonly arrivals = new ArrivalStatistics();
  private readonly captures = new Unwrapper();
  private readonly judged: boolean[] = []; // the last JUDGED packets; true: concealed
  private concealed = 0; // of them, counted as they come: `rating` is asked for often
  private judgedLossMs = 0; // of the present loss, already counted as concealed packets
  private mark: CaptureMark | null = null;
  // Offset in the block being made, capture time of the packet that begins there.
  private begun: { offset: number; captureTime: number } | null = null;

  /**
   * sampleRate in Hz. `overlapSamples`: how far the decoder's output lags the encoder's input.
   */
  constructor(
    sampleRate: number,
    packetSamples: number,
    private readonly overlapSamples: number,
  ) {
    this.perSampleMs = 1000 / sampleRate;
    this.packetMs = (packetSamples * 1000) / sampleRate;
  }

  /** A packet came, in time or late. `captureTime` in samples, as on the wire. */
  arrived(captureTime: number, flags: number, nowMs: number): void {
    if (flags & RESET) {
      this.arrivals.restart();
      this.captures.restart();
    }
    this.arrivals.arrived(this.captures.unwrap(captureTime) * this.perSampleMs, nowMs);
  }

  /** The talker said at what time of the relay's clock a sample was captured. */
  captureClock(mark: CaptureMark): void {
    this.mark = mark;
  }

  /** A packet was decoded and played; a loss before it is over. */
  played(): void {
    this.judgedLossMs = 0;
    this.judge(false);
  }

  /**
   * Packets have been missing for `lostMs`. Every whole packet of it counts as concealed, also
   * where the playout buffer has stopped asking; a dead line has no delay.
   */
  missing(lostMs: number): void {
    while (this.judgedLossMs + this.packetMs <= lostMs) {
      this.judgedLossMs += this.packetMs;
      this.judge(true);
    }
    if (lostMs > DEAD_MS) this.mouthToEarMs = null;
  }

  /** A packet's first decoded sample is `offset` samples into the block being made. */
  begins(offset: number, captureTime: number): void {
    this.begun = { offset, captureTime };
  }

  /**
   * The block is heard from `heardMs` of our clock on; `relayOffsetMs`: the relay's clock less
   * ours, null while unknown.
   */
  heard(heardMs: number, relayOffsetMs: number | null): void {
    const { begun, mark } = this;
    this.begun = null;
    if (begun === null || mark === null || relayOffsetMs === null) return;
    const sinceMark = sequenceDistance(begun.captureTime, mark.captureTime);
    const capturedMs = mark.relayMs + sinceMark * this.perSampleMs;
    // The sample that was captured then leaves the decoder `overlapSamples` later.
    const leavesMs = heardMs + (begun.offset + this.overlapSamples) * this.perSampleMs;
    const delayMs = leavesMs + relayOffsetMs - capturedMs;
    this.mouthToEarMs = Math.abs(delayMs) <= MOST_DELAY_MS ? delayMs : null;
  }

  rating(): CallRating {
    const share = this.judged.length ? this.concealed / this.judged.length : 0;
    const delayMs = this.mouthToEarMs;
    return {
      jitterMs: this.arrivals.jitterMs,
      driftPpm: this.arrivals.driftPpm,
      mouthToEarMs: delayMs,
      concealedPercent: 100 * share,
      mos: delayMs === null ? null : meanOpinion(transmissionRating(Math.max(0, delayMs), share)),
    };
  }

  private judge(concealed: boolean): void {
    if (this.judged.length === JUDGED && this.judged.shift()) this.concealed -= 1;
    this.judged.push(concealed);
    this.concealed += concealed ? 1 : 0;
  }
}
