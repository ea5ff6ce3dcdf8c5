// The talkers of a room: who is heard, who may come back, and who cannot be heard.

import type { StreamInfo } from '../wire/stream-info.ts';
import type { StreamPlayer, Talker } from './player.ts';

/** Decoded at once; later ones are not heard until somebody leaves. */
export const MAX_TALKERS = 16;

const MAX_AWAITED = MAX_TALKERS; // streams that ended and whose players are kept, should they go on
const STREAM_NUMBERS = 1 << 16;

/** The relay numbers the streams of each connection anew. */
export interface StreamKey {
  /** Number of our connection to the relay, ascending. */
  connection: number;
  stream: number;
}

/** What the page's codec can decode. */
export interface Decodable {
  /** 16 hex digits. */
  model: string;
  /** Hz. */
  sampleRate: number;
  /** Samples that a payload may hold, ascending; at least two sizes. */
  packetSizes: readonly number[];
  /** 16 hex digits of its tables for joint stereo; '' where it has none. */
  jointStereo: string;
}

/** A talker without a player. */
export interface Unheard {
  talker: Talker;
  reason: string;
}

interface Joined {
  key: StreamKey;
  talker: Talker;
}

interface Heard {
  key: StreamKey;
  player: StreamPlayer;
}

interface Refused extends Joined, Unheard {
  /** It can be decoded, and waits for somebody to leave. */
  waits: boolean;
  muted: boolean;
}

/**
 * Players by stream. The player of a stream that ended is kept when all is played: should the
 * stream go on over another connection, its player still knows the network. A new player would take
 * the backlog of an outage, which arrives first, for the network's delay, and play it.
 */
export class Talkers {
  private readonly players = new Map<number, Heard>(); // by `place`, in the order of coming
  private readonly awaited = new Map<number, StreamPlayer>(); // ended and played out, by stream
  private readonly refused = new Map<number, Refused>(); // by `place`

  /**
   * `admit` makes the player of a talker that the page can decode; it may throw an Error that says
   * why there can be none. `notify` is told who cannot be heard, and why.
   */
  constructor(
    private readonly admit: (talker: Talker) => StreamPlayer,
    private readonly notify: (text: string) => void,
    private readonly decodable: Decodable,
  ) {}

  /** In the order in which they came. */
  get heard(): StreamPlayer[] {
    return [...this.players.values()].map(({ player }) => player);
  }

  /** Who talks and cannot be heard, and why. */
  get unheard(): Unheard[] {
    return [...this.refused.values()];
  }

  player(key: StreamKey): StreamPlayer | null {
    return this.players.get(place(key))?.player ?? null;
  }

  /** A talker's stream begins, or goes on with another rate or over another connection. */
  join(key: StreamKey, talker: Talker): void {
    const known = this.players.get(place(key));
    if (known !== undefined) {
      if (sameStream(known.player.talker.info, talker.info)) {
        // Only the rate changed, or the talker's connection: decoding goes on.
        known.player.resume();
        return;
      }
      this.players.delete(place(key));
    }
    const reclaimed = this.reclaimed(key, talker);
    reclaimed?.resume();
    const player = reclaimed ?? this.admitted(key, talker);
    if (player === null) return;
    this.players.set(place(key), { key, player });
    if (this.refused.get(place(key))?.muted) player.mute(true);
    this.refused.delete(place(key));
  }

  /**
   * A stream ends; where `stream` is null our own connection broke, and with it every stream on it.
   * What is buffered is still played.
   */
  leave(connection: number, stream: number | null): void {
    const concerns = (key: StreamKey): boolean =>
      key.connection === connection && (stream === null || stream === key.stream);
    for (const { key, player } of this.players.values()) {
      if (concerns(key)) player.end();
    }
    for (const { key } of [...this.refused.values()]) {
      if (concerns(key)) this.refused.delete(place(key));
    }
  }

  /** A talker announced that it sends nothing for now, or that it sends again. */
  mute(key: StreamKey, muted: boolean): void {
    this.player(key)?.mute(muted);
    const refused = this.refused.get(place(key));
    if (refused !== undefined) refused.muted = muted;
  }

  /**
   * Whoever has left and is played out makes room for those who wait; `silent`: nothing is played at
   * all, so whoever has left does.
   */
  removeFinished(silent = false): void {
    for (const { key, player } of [...this.players.values()]) {
      if (!player.finished && !(silent && player.ended)) continue;
      this.players.delete(place(key));
      this.awaited.delete(key.stream); // so that it is the newest now
      this.awaited.set(key.stream, player);
    }
    for (const stream of this.awaited.keys()) {
      if (this.awaited.size <= MAX_AWAITED) break;
      this.awaited.delete(stream);
    }
    for (const { key, talker, waits } of [...this.refused.values()]) {
      if (waits && this.players.size < MAX_TALKERS) this.join(key, talker);
    }
  }

  /**
   * The player that the same stream had before our connection, or its talker's, broke; taken from
   * where it was kept.
   */
  private reclaimed(key: StreamKey, talker: Talker): StreamPlayer | null {
    const earlier = [...this.players.values()].filter(
      ({ key: other }) => other.connection < key.connection && other.stream === key.stream,
    );
    let player: StreamPlayer | null = null;
    if (earlier.length) {
      const newest = earlier[earlier.length - 1];
      this.players.delete(place(newest.key));
      player = newest.player;
    } else if (this.players.size < MAX_TALKERS) {
      player = this.awaited.get(key.stream) ?? null;
      this.awaited.delete(key.stream);
    }
    // After our connection broke, the relay may give the number to somebody else.
    return player !== null && sameTalker(player.talker, talker) ? player : null;
  }

  /** A new player; null, with a notice, where there can be none. */
  private admitted(key: StreamKey, talker: Talker): StreamPlayer | null {
    const against = undecodable(talker.info, this.decodable);
    if (against !== null) return this.refuse(key, talker, against, false);
    if (this.players.size >= MAX_TALKERS) {
      const reason = `${MAX_TALKERS} talkers are heard already; it will be when one of them leaves`;
      return this.refuse(key, talker, reason, true);
    }
    try {
      return this.admit(talker);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return this.refuse(key, talker, reason, false);
    }
  }

  private refuse(key: StreamKey, talker: Talker, reason: string, waits: boolean): null {
    this.notify(`${talker.name} (stream ${talker.stream}) cannot be heard: ${reason}`);
    const muted = this.refused.get(place(key))?.muted ?? false;
    this.refused.set(place(key), { key, talker, reason, waits, muted });
    return null;
  }
}

/** Why the page cannot decode a stream; null where it can. */
export function undecodable(info: StreamInfo, decodable: Decodable): string | null {
  const { model, sampleRate, packetSizes, jointStereo } = decodable;
  if (info.keyId) return 'it is encrypted, which this page cannot open yet';
  if (info.model !== model)
    return `it was made with model ${info.model}, and this page has ${model}`;
  if (info.jointStereo && info.jointStereo !== jointStereo) {
    const ours = jointStereo || 'none';
    return `its joint stereo was made with tables ${info.jointStereo}, and this page has ${ours}`;
  }
  if (info.jointStereo && info.channels !== 2) return 'it says joint stereo of a single channel';
  if (info.sampleRate !== sampleRate || !packetSizes.includes(info.packetSamples)) {
    return (
      `its packets have ${info.packetSamples} samples at ${info.sampleRate} Hz, ` +
      `the model's ${packetSizes.slice(0, -1).join(', ')} or ${packetSizes.slice(-1)[0]} ` +
      `at ${sampleRate}`
    );
  }
  return null;
}

/** A key of a Map. */
function place(key: StreamKey): number {
  return key.connection * STREAM_NUMBERS + key.stream;
}

/** Whether they differ in the bit rate at most, so that one player does for both. */
function sameStream(one: StreamInfo, other: StreamInfo): boolean {
  return (
    one.model === other.model &&
    one.sampleRate === other.sampleRate &&
    one.channels === other.channels &&
    one.packetSamples === other.packetSamples &&
    one.baseLevel === other.baseLevel &&
    one.redundancy === other.redundancy &&
    one.keyId === other.keyId &&
    one.highBand === other.highBand &&
    one.jointStereo === other.jointStereo
  );
}

function sameTalker(one: Talker, other: Talker): boolean {
  return one.name === other.name && sameStream(one.info, other.info);
}
