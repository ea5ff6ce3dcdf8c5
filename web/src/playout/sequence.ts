// Counters of one stream, mod 2^32 on the wire: unwrapped, and sequence numbers checked for
// duplicates, gaps and restarts, and counted.

import { RESET, sequenceDistance } from '../wire/flags.ts';

// Packets in a row; a sequence that goes on further ahead is a new one.
const LONGEST_LOSS = 1 << 16;
const SEQUENCE_MODULUS = 2 ** 32;

/**
 * What a sequence number means. stray: far behind the newest, a very old packet. gap: new, and so
 * far ahead that the packets in between are lost. restart: new, and the first of a sequence that
 * begins anew.
 */
export type Verdict = 'new' | 'duplicate' | 'stray' | 'gap' | 'restart';

/** An unwrapped number, also a negative one -> as on the wire, mod 2^32. */
export function wrapped(number: number): number {
  return ((number % SEQUENCE_MODULUS) + SEQUENCE_MODULUS) % SEQUENCE_MODULUS;
}

/**
 * Turns a counter mod 2^32, such as capture time, into a number that goes on counting. Steps must
 * be less than 2^31, in either direction.
 */
export class Unwrapper {
  private last: number | null = null;

  unwrap(value: number): number {
    this.last = this.last === null ? value : this.last + sequenceDistance(value, this.last);
    return this.last;
  }

  /** The next value has another origin. */
  restart(): void {
    this.last = null;
  }
}

/**
 * Which sequence numbers have come, as unwrapped numbers.
 *
 * capacity: two packets of one sequence that are further apart are a gap, a stray packet or a
 * restart; memory is bounded by a few times as many numbers.
 */
export class SequenceLedger {
  received = 0;
  duplicates = 0;
  restarts = 0;
  private highest: number | null = null;
  private lowest = 0;
  private seen = new Set<number>();
  private expectedRestart: number | null = null;
  private unique = 0;
  private lostBefore = 0;

  constructor(private readonly capacity: number) {}

  /**
   * For every packet that arrives, `sequence` mod 2^32 -> its unwrapped number, and what it means.
   */
  enter(sequence: number, flags: number): [number: number, verdict: Verdict] {
    this.received += 1;
    let number = sequence;
    if (this.highest === null) {
      this.highest = this.lowest = number;
    } else {
      number = this.highest + sequenceDistance(sequence, this.highest);
    }
    const jump = number - this.highest;
    if (this.beginsAnew(jump, number, flags)) {
      this.restart(number);
      this.note(number);
      return [number, 'restart'];
    }
    if (jump < -this.capacity) {
      this.expectedRestart = number + 1;
      return [number, 'stray'];
    }
    if (this.seen.has(number)) {
      this.duplicates += 1;
      return [number, 'duplicate'];
    }
    this.note(number);
    return [number, jump > this.capacity ? 'gap' : 'new'];
  }

  /**
   * The unwrapped number of a packet that has not come though later ones have; null where it has
   * come, or is too old or too new to be missing.
   */
  missing(sequence: number): number | null {
    if (this.highest === null) return null;
    const number = this.highest + sequenceDistance(sequence, this.highest);
    const from = Math.max(this.lowest, this.highest - this.capacity);
    const within = from <= number && number < this.highest;
    return within && !this.seen.has(number) ? number : null;
  }

  /** Numbers that never came. */
  get lost(): number {
    const missing = this.highest === null ? 0 : this.highest - this.lowest + 1 - this.unique;
    return this.lostBefore + missing;
  }

  /**
   * A far step ahead is an outage, whose packets are lost, and a far step back is a stray packet;
   * unless the packet has the RESET flag, or its successor comes too (RFC 3550, appendix A.1).
   */
  private beginsAnew(jump: number, number: number, flags: number): boolean {
    if (Math.abs(jump) <= this.capacity) return false;
    return (
      (flags & RESET) !== 0 || jump > LONGEST_LOSS || (jump < 0 && number === this.expectedRestart)
    );
  }

  private restart(number: number): void {
    this.lostBefore = this.lost;
    this.unique = 0;
    this.seen.clear();
    this.highest = this.lowest = number;
    this.expectedRestart = null;
    this.restarts += 1;
  }

  private note(number: number): void {
    const highest = Math.max(this.highest ?? number, number);
    this.unique += 1;
    this.highest = highest;
    this.lowest = Math.min(this.lowest, number);
    this.seen.add(number);
    if (this.seen.size > 4 * this.capacity) {
      this.seen = new Set([...this.seen].filter(n => n >= highest - this.capacity));
    }
  }
}
