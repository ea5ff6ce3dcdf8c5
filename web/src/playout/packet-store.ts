// Packets that have arrived and have not been played yet. Sans-I/O: time is an argument.
//
// When a packet is due, and what is played where it is missing, is decided by the playout buffer
// that owns the store.

import type { Arrival, Play, PlayoutStatistics } from './playout.ts';
import { SequenceLedger, wrapped } from './sequence.ts';
import type { Verdict } from './sequence.ts';

const SMOOTHED_PACKETS = 16; // weight of one packet's delay in the mean that is reported: 1/16

/** A packet that waits to be played. */
export interface Waiting {
  payload: Uint8Array;
  flags: number;
  /** When it arrived. */
  atMs: number;
  /** When it was captured, by the sender's clock from any origin. */
  mediaMs: number;
  /** As on the wire. */
  captureTime: number;
  /** A coarser copy that a later packet carried. */
  isCopy: boolean;
}

/** What is to be decoded of a packet that is played now. */
export function play(
  packet: Waiting,
  number: number,
  nowMs: number,
  follows: boolean,
  speed: number,
): Play {
  return {
    kind: 'play',
    payload: packet.payload,
    sequence: wrapped(number),
    flags: packet.flags,
    waitedMs: nowMs - packet.atMs,
    follows,
    speed,
    captureTime: packet.captureTime,
  };
}

/**
 * Waiting packets by unwrapped sequence number; each number is accepted once, and what becomes of
 * it is counted.
 *
 * Bounded by `maxMs` of audio, however fast packets come: the oldest is dropped first.
 */
export class PacketStore {
  private readonly capacity: number;
  private readonly ledger: SequenceLedger;
  private readonly packets = new Map<number, Waiting>();
  private late = 0;
  private skipped = 0;
  private played = 0;
  private recovered = 0;
  private delayMs = 0;

  /** Throws RangeError unless 0 < packetMs. */
  constructor(
    readonly packetMs: number,
    readonly maxMs: number,
  ) {
    if (!(packetMs > 0)) {
      throw new RangeError(`packet duration must be above 0 ms, got ${packetMs}`);
    }
    this.capacity = Math.ceil(maxMs / packetMs);
    this.ledger = new SequenceLedger(this.capacity);
  }

  /** By unwrapped number, in no order. */
  get waiting(): ReadonlyMap<number, Waiting> {
    return this.packets;
  }

  /** The least number that waits; Infinity where nothing does. */
  get oldest(): number {
    let oldest = Infinity;
    for (const number of this.packets.keys()) oldest = Math.min(oldest, number);
    return oldest;
  }

  /**
   * Counts a packet that arrived, `sequence` mod 2^32 -> its unwrapped number, and what that means.
   * 'restart' drops everything that waits; 'duplicate' and 'stray' must not be added.
   */
  enter(sequence: number, flags: number): [number: number, verdict: Verdict] {
    const [number, verdict] = this.ledger.enter(sequence, flags);
    if (verdict === 'restart') {
      this.drop([...this.packets.keys()]);
    } else if (verdict === 'stray') {
      this.late += 1;
    }
    return [number, verdict];
  }

  /** Counts a packet that entered after its turn. */
  refuse(): Arrival {
    this.late += 1;
    return 'late';
  }

  /**
   * The unwrapped number of a packet that neither came nor waits as a copy, though later ones came;
   * null for any other.
   */
  missing(sequence: number): number | null {
    const number = this.ledger.missing(sequence);
    return number !== null && this.packets.has(number) ? null : number;
  }

  /**
   * Adds a packet, in place of its copy if that waits. True where the store was full and its oldest
   * was dropped.
   */
  add(number: number, packet: Waiting): boolean {
    this.packets.set(number, packet);
    const full = this.packets.size > this.capacity;
    if (full) this.drop([this.oldest]);
    return full;
  }

  /** Removes a waiting packet because it is played now. */
  take(number: number, nowMs: number): Waiting {
    const packet = this.removed(number);
    this.played += 1;
    this.recovered += packet.isCopy ? 1 : 0;
    const waitedMs = nowMs - packet.atMs;
    this.delayMs += (waitedMs - this.delayMs) / Math.min(this.played, SMOOTHED_PACKETS);
    return packet;
  }

  /** Removes waiting packets that will not be played. */
  drop(numbers: Iterable<number>): void {
    for (const number of numbers) this.skipped += this.removed(number).isCopy ? 0 : 1;
  }

  dropBefore(number: number): void {
    this.drop([...this.packets.keys()].filter(n => n < number));
  }

  /** Drops what has waited longer than `maxMs`. */
  dropStale(nowMs: number): void {
    for (const [number, packet] of [...this.packets]) {
      if (nowMs - packet.atMs > this.maxMs) this.drop([number]);
    }
  }

  /** The store's counts with those that only the playout buffer knows. */
  statistics(concealed: number, underruns: number, targetMs: number): PlayoutStatistics {
    return {
      received: this.ledger.received,
      played: this.played,
      lost: this.ledger.lost,
      late: this.late,
      duplicate: this.ledger.duplicates,
      skipped: this.skipped,
      concealed,
      underruns,
      restarts: this.ledger.restarts,
      recovered: this.recovered,
      bufferMs: this.packets.size * this.packetMs,
      delayMs: this.delayMs,
      targetMs,
    };
  }

  private removed(number: number): Waiting {
    const packet = this.packets.get(number);
    if (packet === undefined) throw new Error(`packet ${number} does not wait`);
    this.packets.delete(number);
    return packet;
  }
}
