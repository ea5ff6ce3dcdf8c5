// One talker as it is heard: playout buffer, decoder, concealment and what the call is judged by.

import { LevelMeter } from '../audio/level-meter.ts';
import { cut, joined, type Pcm, silence } from '../audio/pcm.ts';
import { RESET } from '../wire/flags.ts';
import type { StreamInfo } from '../wire/stream-info.ts';
import { AdaptivePlayout } from './adaptive.ts';
import { CallQuality } from './call-quality.ts';
import type { CallRating, CaptureMark } from './call-quality.ts';
import { PayloadError } from './decoder.ts';
import type { Decoder } from './decoder.ts';
import { LossFade } from './loss-fade.ts';
import type { Copy, Play, PlayoutStatistics } from './playout.ts';
import { Stretcher } from './stretcher.ts';

/** Whose stream it is, as the relay announced it. */
export interface Talker {
  stream: number;
  name: string;
  info: StreamInfo;
}

/** Of the sound that a decoder makes. */
export interface Sound {
  /** How many times the rate that streams have on the wire its own is. */
  widening: number;
  /** How far it lags the encoder's input, in its samples. */
  overlap: number;
}

/** A media packet without the copy that it carried; numbers as on the wire, mod 2^32. */
export interface MediaPacket {
  sequence: number;
  captureTime: number;
  flags: number;
  payload: Uint8Array;
}

/** One talker: sums since it was first heard of, and how the call is now. */
export interface StreamStatistics extends CallRating {
  stream: number;
  name: string;
  badPayloads: number;
  playout: PlayoutStatistics;
}

/**
 * Playout buffer and decoder of one talker, and what is decoded and not yet played (less than a
 * packet). Losses are concealed by LossFade and the call judged by CallQuality.
 */
export class StreamPlayer {
  /** Something of it was heard. */
  begun = false;
  /** Of what is heard; whoever pulls adds to it. */
  readonly meter: LevelMeter;
  private readonly playout: AdaptivePlayout;
  private readonly stretcher: Stretcher;
  private readonly fade: LossFade;
  private readonly quality: CallQuality;
  private rest: Pcm;
  private isMuted = false;
  private hasEnded = false;
  private badPayloads = 0;
  private readonly widening: number;
  // As they are decoded, like all times in here.
  private readonly sampleRate: number;
  private readonly packetSamples: number;

  /**
   * `decoder`: of this stream alone, which makes `sound`. `now`: a clock that never goes back, in
   * ms. Throws RangeError for packets that no playout buffer takes.
   */
  constructor(
    readonly talker: Talker,
    private readonly decoder: Decoder,
    { widening, overlap }: Sound,
    private readonly now: () => number,
  ) {
    this.widening = widening;
    const sampleRate = (this.sampleRate = talker.info.sampleRate * widening);
    const packetSamples = (this.packetSamples = talker.info.packetSamples * widening);
    const samplesPerMs = sampleRate / 1000;
    this.playout = new AdaptivePlayout(packetSamples / samplesPerMs, samplesPerMs);
    this.stretcher = new Stretcher(sampleRate);
    this.fade = new LossFade(sampleRate, talker.info.channels, packetSamples);
    this.quality = new CallQuality(sampleRate, packetSamples, overlap);
    this.meter = new LevelMeter(sampleRate);
    this.rest = silence(talker.info.channels, 0);
  }

  /** The talker has left and all was played. */
  get finished(): boolean {
    return this.silent && !this.isMuted;
  }

  /** The talker has left, or is muted, and all was played. */
  get silent(): boolean {
    return this.playout.drained && !this.rest[0].length && this.fade.silent;
  }

  /** The talker has left; there may be more to play. */
  get ended(): boolean {
    return this.hasEnded;
  }

  /** The talker said that nothing follows for now; a sender says it before it leaves. */
  get muted(): boolean {
    return this.isMuted;
  }

  /** A packet arrived, with the copy that it carried. */
  receive(packet: MediaPacket, copy: Copy | null, receivedMs: number): void {
    const { sequence, payload, flags } = packet;
    const captureTime = this.decodedTime(packet.captureTime);
    this.quality.arrived(captureTime, flags, receivedMs);
    this.playout.receive(sequence, captureTime, payload, flags, receivedMs);
    if (copy !== null) this.playout.recover(this.inDecodedTime(copy), receivedMs);
  }

  /** The talker said at what time of the relay's clock a sample was captured. */
  captureClock(mark: CaptureMark): void {
    this.quality.captureClock(this.inDecodedTime(mark));
  }

  private inDecodedTime<Timed extends { captureTime: number }>(told: Timed): Timed {
    return { ...told, captureTime: this.decodedTime(told.captureTime) };
  }

  /** A capture time of the wire in samples as they are decoded; it wraps where that does. */
  private decodedTime(wireTime: number): number {
    return (wireTime * this.widening) % 2 ** 32;
  }

  /** The talker has left: what is buffered is played, and nothing after it concealed. */
  end(): void {
    this.isMuted = false;
    this.hasEnded = true;
    this.fade.endPause();
    this.playout.end();
  }

  /** Takes `end` back: the talker's connection broke, and its stream goes on over another. */
  resume(): void {
    this.hasEnded = false;
    if (!this.isMuted) this.playout.resume();
  }

  /**
   * The talker announced that it sends nothing for now, which needs no concealment; or that it
   * speaks again.
   */
  mute(muted: boolean): void {
    this.isMuted = muted;
    if (muted) {
      this.fade.endPause();
      this.playout.end();
    } else {
      this.playout.resume();
    }
  }

  /** The next [samples], not to be written to; null while there is nothing to hear. */
  pull(samples: number): Pcm | null {
    const parts: Pcm[] = [this.rest];
    let have = this.rest[0].length;
    const add = (pcm: Pcm): void => {
      parts.push(pcm);
      have += pcm[0].length;
    };
    while (have < samples) {
      const pcm = this.nextPacket(have);
      if (pcm === null) break;
      add(pcm);
    }
    if (!this.playout.drained) {
      // The buffer stops asking for substitutes before the fade to comfort noise is complete.
      while (have < samples && this.fade.continues) add(this.stretched(this.concealed(), 1));
      if (have < samples) {
        add(this.fade.background(samples - have));
        this.quality.missing(this.fade.lostMs);
      }
    }
    if (!have && this.fade.silent) return null;
    if (have < samples) add(this.fade.silence(samples - have));
    const pcm = parts.length > 1 ? joined(parts) : this.rest;
    this.rest = cut(pcm, samples);
    return cut(pcm, 0, samples);
  }

  /**
   * The block that was pulled last is heard from `heardMs` on. `relayOffsetMs`: the relay's clock
   * less ours, null while unknown.
   */
  heard(heardMs: number, relayOffsetMs: number | null): void {
    this.quality.heard(heardMs, relayOffsetMs);
  }

  statistics(): StreamStatistics {
    return {
      stream: this.talker.stream,
      name: this.talker.name,
      badPayloads: this.badPayloads,
      playout: this.playout.statistics(),
      ...this.quality.rating(),
    };
  }

  /**
   * The packet whose turn it is, or its substitute, [T]; null where nothing is due. It will be
   * heard `offset` samples into the block.
   */
  private nextPacket(offset: number): Pcm | null {
    const beginsMs = this.now() + (offset * 1000) / this.sampleRate;
    const event = this.playout.poll(beginsMs);
    if (event === null) return null;
    if (event.kind === 'conceal') return this.stretched(this.concealed(), 1);
    const pcm = this.decoded(event);
    this.quality.begins(offset, event.captureTime);
    return this.stretched(pcm, event.speed);
  }

  /** A packet, or the substitute for a bad payload, [packetSamples]. */
  private decoded(event: Play): Pcm {
    this.begun = true;
    const begins = (event.flags & RESET) !== 0;
    const restarts = begins || !event.follows;
    if (restarts) this.decoder.reset(begins);
    let bad = false;
    let pcm: Pcm;
    if (!event.payload.length) {
      // Digital silence.
      pcm = silence(this.talker.info.channels, this.packetSamples);
      this.fade.forgetBackground();
    } else {
      try {
        pcm = this.decoder.decode(event.payload);
      } catch (error) {
        if (!(error instanceof PayloadError)) throw error;
        this.badPayloads += 1;
        bad = true;
        pcm = this.decoder.decode(null);
      }
    }
    pcm = this.fade.packet(pcm, event.flags, restarts, bad);
    if (bad) {
      this.quality.missing(this.fade.lostMs);
    } else {
      this.quality.played();
    }
    return pcm;
  }

  /** A substitute for a missing packet, [packetSamples]. */
  private concealed(): Pcm {
    const pcm = this.fade.concealed(this.decoder.decode(null));
    this.quality.missing(this.fade.lostMs);
    return pcm;
  }

  /** [T] -> [T / speed], which is what will be heard. */
  private stretched(pcm: Pcm, speed: number): Pcm {
    const heard = this.stretcher.play(pcm, speed);
    this.fade.heard(heard);
    return heard;
  }
}
