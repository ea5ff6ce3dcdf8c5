// One stream into a room: PCM -> packets, and what the room is told of them (docs/protocol.md, rules
// 7 to 15).

import { DISCONTINUITY, DTX, RESET } from '../wire/flags.ts';
import type { Message } from '../wire/messages.ts';
import type { Packet } from '../wire/packet.ts';
import { MAX_PAYLOAD_BYTES, serialize } from '../wire/packet.ts';
import type { StreamInfo } from '../wire/stream-info.ts';
import { CaptureClock } from './capture-clock.ts';
import { CopyPolicy } from './copy-policy.ts';
import type { Encoder } from './encoder.ts';
import { PacketSequence } from './packet-sequence.ts';
import type { TargetBitrate } from './rate.ts';
import { chargeOf, rateControl, streamSettings, targetFor } from './rate.ts';

/** A microphone that gives nothing for so long is not late: it pauses. */
const PAUSE_MS = 200;
/** Empty packets that announce a pause: two, in case one is lost. */
const ANNOUNCEMENTS = 2;
/** Over which the bit rate is counted. */
const RATE_WINDOW_MS = 3_000;
const NOTHING = new Uint8Array(0);

/** What is around a talker; times are ms of one monotonic clock. */
export interface Outlet {
  /** A packet with its whole header -> bytes that were written, 0 for none. */
  send(datagram: Uint8Array): number;
  /** A control message, which is lost where there is no connection. */
  tell(message: Message): void;
  /** The relay's clock less ours, ms; null while it is not known. */
  relayOffsetMs(): number | null;
  now(): number;
}

/** Sums since the beginning, but for the rate. */
export interface TalkerStatistics {
  packets: number;
  payloadBytes: number;
  /** Packets that the connection did not take. */
  dropped: number;
  /** bit/s of payloads that were sent, over the last seconds. */
  bitrateBps: number;
  /** How many packets back the copies lie that packets carry now; 0: they carry none. */
  copyDistance: number;
}

/** Encodes what a microphone gives and sends it. Positions count samples as they are encoded. */
export class Talker {
  /** For the hello. */
  readonly info: StreamInfo;
  readonly #encoder: Encoder;
  readonly #outlet: Outlet;
  readonly #rate: TargetBitrate;
  readonly #copyLevel: number;
  readonly #sequence: PacketSequence;
  readonly #copying = new CopyPolicy();
  readonly #captures = new CaptureClock();
  readonly #packet: Float32Array; // that is being filled
  #filled = 0; // samples of it
  #end = 0; // behind the newest sample, lost ones counted
  #endMs: number | null = null; // when that was captured; null before the first
  // By how much `end` is ahead of that: what looked like a pause was a delay of the samples.
  #aheadMs = 0;
  #connected = false;
  #muted = false;
  #everMuted = false;
  #sending = false; // the encoder goes on from the packet before
  #paused = false; // `idle` has said what comes before the next sample
  #packets = 0;
  #payloadBytes = 0;
  #dropped = 0;
  #latest: { ms: number; bytes: number }[] = []; // within RATE_WINDOW_MS, oldest first

  /**
   * `encoder`: made for `streamSettings(facts, bitrateBps)`, or RangeError is thrown. `bitrateBps`:
   * mean payload rate that is asked for.
   */
  constructor(encoder: Encoder, bitrateBps: number, outlet: Outlet) {
    const { facts } = encoder;
    this.#encoder = encoder;
    this.#outlet = outlet;
    this.#rate = rateControl(facts, bitrateBps);
    if (encoder.baseLevel !== this.#rate.baseLevel) {
      throw new RangeError(`${bitrateBps} bit/s needs an encoder of level ${this.#rate.baseLevel}`);
    }
    this.#copyLevel = streamSettings(facts, bitrateBps).copyLevel;
    this.info = {
      model: facts.hash,
      sampleRate: facts.sampleRate / facts.widening,
      channels: 1,
      packetSamples: facts.packetSamples / facts.widening,
      baseLevel: this.#rate.baseLevel,
      bitrateBps: Math.round(targetFor(facts, bitrateBps)),
      redundancy: this.#copying.offered,
      keyId: '',
      highBand: facts.highBand,
      jointStereo: '',
    };
    this.#sequence = new PacketSequence(this.info);
    this.#packet = new Float32Array(facts.packetSamples);
  }

  /** Whether nothing is sent of what is captured. */
  get muted(): boolean {
    return this.#muted;
  }

  /**
   * Mono, at the codec's rate, any length; `capturedMs`: when its last sample was captured. Without
   * a connection, or while muted, it is dropped: what follows begins with a fresh encoder, since
   * what was captured before would be played too late.
   */
  push(pcm: Float32Array, capturedMs: number): void {
    const beginMs = capturedMs - this.#milliseconds(pcm.length);
    if (!this.#sending && this.#endMs !== null) {
      // A microphone may have stood still meanwhile: then the clock says how long.
      const missing = beginMs - this.#endMs;
      if (this.#paused || missing > PAUSE_MS) this.#skip(missing);
    }
    this.#paused = false;
    const begin = this.#end;
    this.#end += pcm.length;
    this.#endMs = capturedMs;
    if (!this.#connected || this.#muted) return;
    let at = 0;
    while (at < pcm.length) {
      if (!this.#sending) this.#begin(begin + at);
      const taken = Math.min(pcm.length - at, this.#packet.length - this.#filled);
      for (const end = at + taken; at < end; at++) {
        // What a faulty driver delivers must not end a call.
        this.#packet[this.#filled++] = Number.isFinite(pcm[at]) ? pcm[at] : 0;
      }
      if (this.#filled === this.#packet.length) this.#encode(begin + at);
    }
  }

  /** So many samples were lost behind what was pushed last. */
  gap(samples: number): void {
    if (samples <= 0 || this.#paused) return; // of a pause the clock says how long it was
    this.#end += samples;
    if (this.#endMs !== null) this.#endMs += this.#milliseconds(samples);
    this.#sequence.mark(DISCONTINUITY);
  }

  /** What is pushed next comes from another microphone, at some time after what came before. */
  interrupted(): void {
    this.#stop();
  }

  /**
   * To be called now and then: a microphone that gives nothing any more pauses, and the room is
   * told, since listeners would conceal packets that are only late.
   */
  idle(): void {
    const nowMs = this.#outlet.now();
    const { packetSamples } = this.#encoder.facts;
    if (!this.#sending || this.#endMs === null) return;
    const idleMs = nowMs - this.#endMs;
    if (idleMs - this.#aheadMs < PAUSE_MS) return;
    this.#skip(idleMs);
    this.#endMs = nowMs;
    this.#sequence.mark(DISCONTINUITY);
    for (let left = ANNOUNCEMENTS; left > 0; left--) {
      const position = this.#onWire(this.#end - left * packetSamples);
      const endMs = nowMs - this.#milliseconds((left - 1) * packetSamples);
      this.#send(this.#sequence.finish(position, NOTHING, NOTHING, DTX), position, endMs);
    }
    this.#stop();
    this.#paused = true;
  }

  /** At once, and the room is told. */
  mute(muted: boolean): void {
    if (muted === this.#muted) return;
    this.#muted = muted;
    this.#everMuted = true;
    this.#stop();
    if (this.#connected) this.#tellMuted();
  }

  /** There is a connection, a new one. The relay may remember, or not know, that we are muted. */
  connected(): void {
    this.#connected = true;
    this.#stop();
    if (this.#everMuted) this.#tellMuted();
  }

  /** What is captured from now on is never sent. */
  disconnected(): void {
    this.#connected = false;
    this.#stop();
    this.#copying.take(0); // until the next relay has told
    this.#sequence.carryCopies(0);
  }

  /** Makes the copies that listeners take and need. Other messages are ignored. */
  message(message: Message): void {
    if (message.type === 'copies_wanted') this.#copying.take(message.copies);
    if (message.type === 'report') this.#copying.add(message, this.#outlet.now());
    this.#sequence.carryCopies(this.#copying.distance);
  }

  statistics(): TalkerStatistics {
    this.#forgetOld(this.#outlet.now());
    const bytes = this.#latest.reduce((sum, sent) => sum + sent.bytes, 0);
    return {
      packets: this.#packets,
      payloadBytes: this.#payloadBytes,
      dropped: this.#dropped,
      bitrateBps: (bytes * 8_000) / RATE_WINDOW_MS,
      copyDistance: this.#copying.distance,
    };
  }

  #begin(position: number): void {
    this.#sending = true;
    this.#filled = 0;
    this.#encoder.reset();
    this.#rate.reset();
    this.#sequence.mark(position > 0 ? RESET | DISCONTINUITY : RESET);
  }

  /** What follows begins with a fresh encoder. */
  #stop(): void {
    this.#sending = false;
  }

  /** Encodes and sends the packet that is full; its last sample lies before `end`. */
  #encode(end: number): void {
    const { facts } = this.#encoder;
    this.#filled = 0;
    const level = this.#rate.nextLevel();
    const payload = this.#encoder.encode(this.#packet, level);
    if (payload.length > MAX_PAYLOAD_BYTES) {
      // No packet can carry it, and a decoder that lacks it could not go on.
      this.#begin(end);
      return;
    }
    const copy = this.#copying.distance > 0 ? this.#copyOf(payload, level) : NOTHING;
    this.#rate.spent(payload.length + chargeOf(copy.length, facts, this.info.bitrateBps));
    const position = this.#onWire(end - facts.packetSamples);
    const capturedMs = this.#endMs! - this.#milliseconds(this.#end - end);
    this.#send(this.#sequence.finish(position, payload, copy), position, capturedMs);
  }

  #copyOf(payload: Uint8Array, level: number): Uint8Array {
    return level <= this.#copyLevel ? payload : this.#encoder.copy();
  }

  /** `position`: of its first sample, on the wire. `capturedMs`: when its last one was captured. */
  #send(packet: Packet, position: number, capturedMs: number): void {
    if (this.#outlet.send(serialize(packet)) === 0) {
      this.#dropped += 1;
      if (packet.flags & RESET) this.#stop(); // a connection must begin with it
      return;
    }
    const nowMs = this.#outlet.now();
    this.#packets += 1;
    this.#payloadBytes += packet.payload.length;
    this.#latest.push({ ms: nowMs, bytes: packet.payload.length });
    this.#forgetOld(nowMs);
    const begun = (packet.flags & (RESET | DISCONTINUITY)) !== 0;
    const end = position + this.info.packetSamples;
    this.#captures.sent(end, Math.min(capturedMs, nowMs), begun);
    const mark = this.#captures.due(nowMs, this.#outlet.relayOffsetMs());
    if (mark !== null) this.#outlet.tell(mark);
  }

  #tellMuted(): void {
    this.#outlet.tell({ type: 'mute', muted: this.#muted, stream: 0 });
  }

  #forgetOld(nowMs: number): void {
    const since = nowMs - RATE_WINDOW_MS;
    while (this.#latest.length > 0 && this.#latest[0].ms < since) this.#latest.shift();
  }

  /** So much time has passed without samples; less than nothing where they came too late. */
  #skip(ms: number): void {
    const skippedMs = ms - this.#aheadMs;
    this.#aheadMs = Math.max(0, -skippedMs);
    this.#end += Math.round((Math.max(0, skippedMs) * this.#encoder.facts.sampleRate) / 1_000);
  }

  #milliseconds(samples: number): number {
    return (samples * 1_000) / this.#encoder.facts.sampleRate;
  }

  /** A position in samples of the stream, of which there are fewer. */
  #onWire(position: number): number {
    return Math.floor(position / this.#encoder.facts.widening);
  }
}
