// Jitter buffer with an adaptive delay: as short as the network allows. Sans-I/O: time is an
// argument.
//
// Each Play asks for a speed. It keeps the delay constant where the clocks of talker and listener
// drift, reduces delay that is no longer needed, and adds some where packets barely come in time.

import { DelayTarget } from './delay.ts';
import { PacketStore, play } from './packet-store.ts';
import type { Arrival, Conceal, Copy, Play, PlayoutStatistics } from './playout.ts';
import * as position from './position.ts';
import { Unwrapper, wrapped } from './sequence.ts';
import { SpeedControl } from './speed.ts';

const LEAST_SPAN_MS = 120; // between the bounds of the delay: two packets of the longest kind
const LONGEST_MS = 2_000;
// Concealed while the next packet may only be late; then silence and a new start.
const STALL_LIMIT_MS = 120;
// Packets that are later than this are skipped: playing seconds of them faster would take too long.
const JUMP_MS = 240;
const OUTAGE_JUMP_MS = 40; // the same after an outage: the conversation has moved on
// How late the first packets after a pause may be played: the sender held them back until it knew
// that they are voice.
const PAUSE_SLACK_MS = 80;

/** Bounds of an adaptive delay: 0 <= minMs, minMs + 120 <= maxMs, maxMs <= 2000. */
export interface DelayBounds {
  /** Kept on the quietest network. */
  minMs: number;
  /** Nothing is played that waited longer. */
  maxMs: number;
}

export const DEFAULT_BOUNDS: DelayBounds = { minMs: 10, maxMs: 400 };

/**
 * Plays each packet DelayTarget after the quickest packet of the last seconds would have arrived.
 *
 * While the buffer is empty the next packet is late or lost: its time is concealed, and it is still
 * played when it comes, so that the delay grows at once by what the network needs. Surplus delay is
 * reduced by playing faster. At most `bounds.maxMs` of audio are kept, the oldest dropped first.
 */
export class AdaptivePlayout {
  private readonly store: PacketStore;
  private readonly target: DelayTarget;
  private readonly captures = new Unwrapper();
  private readonly speed = new SpeedControl();
  private position: position.Position = position.BEGINNING;
  private stalled = 0; // packets concealed since the buffer ran empty
  private concealed = 0;
  private underruns = 0;
  private ended = false;

  /**
   * samplesPerMs: unit of capture times. Throws RangeError for bounds that are none, and unless
   * 0 < packetMs <= 60.
   */
  constructor(
    packetMs: number,
    private readonly samplesPerMs: number,
    bounds: DelayBounds = DEFAULT_BOUNDS,
  ) {
    const { minMs, maxMs } = bounds;
    if (!(minMs >= 0 && minMs + LEAST_SPAN_MS <= maxMs && maxMs <= LONGEST_MS)) {
      throw new RangeError(
        `adaptive playout delay must lie within 0..${LONGEST_MS} ms and leave ` +
          `${LEAST_SPAN_MS} ms between its bounds, got ${minMs}..${maxMs}`,
      );
    }
    this.store = new PacketStore(packetMs, maxMs);
    if (packetMs > LEAST_SPAN_MS / 2) {
      throw new RangeError(
        `packet duration must be at most ${LEAST_SPAN_MS / 2} ms, got ${packetMs}`,
      );
    }
    this.target = new DelayTarget(packetMs, minMs, maxMs - 2 * packetMs);
  }

  /** A packet arrived. `sequence` and `captureTime` as on the wire, mod 2^32. */
  receive(
    sequence: number,
    captureTime: number,
    payload: Uint8Array,
    flags: number,
    nowMs: number,
  ): Arrival {
    const [number, verdict] = this.store.enter(sequence, flags);
    if (verdict === 'duplicate') return 'duplicate';
    if (verdict === 'stray') return 'late';
    if (verdict === 'restart') {
      this.position = position.BEGINNING;
      this.target.forgetBaseline();
      this.captures.restart();
    }
    if (verdict === 'restart' || verdict === 'gap') this.stop();
    const mediaMs = this.measure(captureTime, nowMs);
    if (number < this.firstPlayable) return this.store.refuse();
    const packet = { payload, flags, atMs: nowMs, mediaMs, captureTime, isCopy: false };
    if (this.store.add(number, packet)) this.stop();
    return 'buffered';
  }

  /**
   * A packet that was received before carried a coarser copy of an earlier one. True where the copy
   * is kept: the packet itself has not come, and its turn is not over.
   *
   * A copy is as late as the packet that brings it is behind: where packets are lost, the delay
   * grows to wait for copies.
   */
  recover(copy: Copy, nowMs: number): boolean {
    const number = this.store.missing(copy.sequence);
    if (number === null || number < this.firstPlayable) return false;
    const { payload, captureTime } = copy;
    const mediaMs = this.measure(captureTime, nowMs);
    this.store.add(number, { payload, flags: 0, atMs: nowMs, mediaMs, captureTime, isCopy: true });
    return this.store.waiting.has(number);
  }

  /**
   * Audio needs one packet more; `nowMs` is when it will begin to be heard. Null: nothing is due,
   * play silence and ask again soon.
   */
  poll(nowMs: number): Play | Conceal | null {
    this.store.dropStale(nowMs);
    this.dropOverdue(nowMs);
    this.skipWhatWasConcealed();
    const due = this.position.due;
    if (due !== null) {
      if (this.store.waiting.has(due)) return this.play(due, nowMs);
      if (this.store.waiting.size) return this.concealLost(due);
      if (!this.ended && this.stalled * this.store.packetMs < STALL_LIMIT_MS) {
        return this.concealLate(due);
      }
      this.stop();
    }
    return this.begin(nowMs);
  }

  /** No more will come: what waits is still played, and nothing is concealed after it. */
  end(): void {
    this.ended = true;
  }

  /** Takes `end` back: more may come after all, as after a mute. */
  resume(): void {
    this.ended = false;
  }

  /** `end` was called, and everything that waited has been played. */
  get drained(): boolean {
    return this.ended && !this.store.waiting.size;
  }

  statistics(): PlayoutStatistics {
    return this.store.statistics(this.concealed, this.underruns, this.target.ms);
  }

  /** The first number whose turn is not over. */
  private get firstPlayable(): number {
    const { due, polled } = this.position;
    return Math.max(due ?? -Infinity, polled === null ? -Infinity : polled + 1);
  }

  /** Tells the target of an arrival -> its capture time in ms. */
  private measure(captureTime: number, nowMs: number): number {
    const mediaMs = this.captures.unwrap(captureTime) / this.samplesPerMs;
    this.target.arrived(mediaMs, nowMs);
    return mediaMs;
  }

  /** Nothing plays until what waits is due. */
  private stop(): void {
    this.position = position.stopped(this.position);
    this.stalled = 0;
  }

  /** When a waiting packet should be played. */
  private dueMs(number: number): number {
    const baselineMs = this.target.baselineMs;
    const packet = this.store.waiting.get(number);
    if (baselineMs === null || packet === undefined) throw new Error(`${number} does not wait`);
    return baselineMs + packet.mediaMs + this.target.ms;
  }

  /**
   * After an outage TCP delivers what was captured when it began: later than any delay that is
   * played, however short it has waited here.
   */
  private dropOverdue(nowMs: number): void {
    const latestMs = this.store.maxMs - this.target.ms;
    const overdue = [...this.store.waiting.keys()].filter(n => nowMs - this.dueMs(n) > latestMs);
    this.store.drop(overdue);
    const due = this.position.due;
    if (overdue.length && due !== null) {
      this.position = position.skippedTo(this.position, Math.max(due, Math.max(...overdue) + 1));
    }
  }

  /**
   * Where packets came after a stall, and not the one that was waited for, that one is lost. It has
   * been concealed already, which is what the decoder goes on from.
   */
  private skipWhatWasConcealed(): void {
    const due = this.position.due;
    if (due === null || !this.store.waiting.size) return;
    if (this.stalled && !this.store.waiting.has(due)) {
      const goesOnWith = Math.min(due + this.stalled, this.store.oldest);
      this.position = position.afterConcealing(this.position, goesOnWith - 1);
    }
    this.stalled = 0;
  }

  /** The oldest packet whose turn is not over, or else the newest. Something must wait. */
  private start(nowMs: number): number {
    const slackMs = Math.max(this.store.packetMs, this.position.paused ? PAUSE_SLACK_MS : 0);
    const waiting = [...this.store.waiting.keys()].sort((a, b) => a - b);
    return waiting.find(n => this.dueMs(n) > nowMs - slackMs) ?? waiting[waiting.length - 1];
  }

  /** Begins a new stretch once its first packet is due. */
  private begin(nowMs: number): Play | null {
    if (!this.store.waiting.size) return null;
    const start = this.start(nowMs);
    if (this.dueMs(start) > nowMs) return null;
    this.store.dropBefore(start);
    return this.play(start, nowMs);
  }

  private play(due: number, nowMs: number): Play {
    const latestMs = this.target.outage ? OUTAGE_JUMP_MS : JUMP_MS;
    let number = due;
    if (nowMs - this.dueMs(number) > latestMs) {
      number = Math.max(number, this.start(nowMs));
      this.store.dropBefore(number);
    }
    const errorMs = nowMs - this.dueMs(number);
    const packet = this.store.take(number, nowMs);
    const speed = this.speed.next(errorMs, nowMs - packet.atMs);
    const follows = position.follows(this.position, number);
    this.position = position.afterPlaying(number, packet.flags);
    this.stalled = 0;
    return play(packet, number, nowMs, follows, speed);
  }

  /** Later packets wait: the one that is due is lost, and its turn is over. */
  private concealLost(number: number): Conceal {
    this.concealed += 1;
    this.position = position.afterConcealing(this.position, number);
    return { kind: 'conceal', sequence: wrapped(number) };
  }

  /** Nothing waits: the packet that is due may only be late, and keeps its turn. */
  private concealLate(due: number): Conceal {
    if (!this.stalled) this.underruns += 1;
    const number = due + this.stalled;
    this.concealed += 1;
    this.stalled += 1;
    return { kind: 'conceal', sequence: wrapped(number) };
  }
}
