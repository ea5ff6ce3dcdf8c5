// Packets that also carry a copy of an earlier packet at a lower quality level, so that a lost
// packet is heard at lower quality instead of being concealed (docs/protocol.md).

import { DISCONTINUITY, RESET } from './flags.ts';
import type { Packet } from './packet.ts';
import { AUDIO, AUDIO_WITH_COPY, MalformedPacket, MAX_PAYLOAD_BYTES } from './packet.ts';

/** No packet can carry a copy of one that lies farther back. */
export const MAX_COPY_DISTANCE = 4;
/** How far back copies usually lie: a burst of so many lost packets is covered. */
export const USUAL_COPY_DISTANCE = 4;

/** From this length on a copy's length takes a byte of its own. */
const LONG = 63;
/** Longer copies cannot be carried. */
const MAX_COPY_BYTES = LONG + 255;

/** A payload of lower quality for the packet `sequence`; numbers as on the wire, modulo 2^32. */
export interface Copy {
  sequence: number;
  captureTime: number;
  payload: Uint8Array;
}

/** A sender's store of the copies that its next packets carry. */
export class CopyHistory {
  /** How many packets back the copy lies that a packet carries, at most `farthest`; 0: none. */
  distance: number;
  readonly #farthest: number;
  readonly #packetSamples: number;
  readonly #copies: Uint8Array[] = []; // newest first
  #expected: number | null = null; // capture time of the packet that follows the newest

  constructor(farthest: number, packetSamples: number) {
    this.distance = this.#farthest = farthest;
    this.#packetSamples = packetSamples;
  }

  /**
   * -> the packet together with the copy that it should carry. `copy`: the packet's own payload at
   * lower quality, kept for the packets that follow; empty where none was made.
   */
  add(packet: Packet, copy: Uint8Array): Packet {
    if (packet.flags & (RESET | DISCONTINUITY) || packet.captureTime !== this.#expected) {
      // A receiver derives a copy's capture time from its distance: after a gap it would derive a
      // wrong one.
      this.#copies.length = 0;
    }
    this.#expected = (packet.captureTime + this.#packetSamples) >>> 0;
    const carried = this.#withCopy(packet);
    this.#copies.unshift(copy.length <= MAX_COPY_BYTES ? copy : new Uint8Array(0));
    this.#copies.length = Math.min(this.#copies.length, this.#farthest);
    return carried;
  }

  #withCopy(packet: Packet): Packet {
    if (this.distance === 0 || this.distance > this.#copies.length) return packet;
    const earlier = this.#copies[this.distance - 1];
    if (earlier.length === 0 || packet.payload.length === 0) return packet;
    const payload = join(earlier, this.distance, packet.payload);
    return payload.length > MAX_PAYLOAD_BYTES
      ? packet
      : { ...packet, type: AUDIO_WITH_COPY, payload };
  }
}

/**
 * The copy of the packet `distance` packets back, and the packet's own payload -> the payload of a
 * packet of type AUDIO_WITH_COPY.
 */
export function join(copy: Uint8Array, distance: number, payload: Uint8Array): Uint8Array {
  const short = Math.min(copy.length, LONG);
  const head = [((distance - 1) << 6) | short];
  if (short === LONG) head.push(copy.length - LONG);
  const joined = new Uint8Array(head.length + copy.length + payload.length);
  joined.set(head);
  joined.set(copy, head.length);
  joined.set(payload, head.length + copy.length);
  return joined;
}

/**
 * -> the packet as it would be without a copy, and the copy that it carries. `packetSamples`: of
 * each payload. Throws MalformedPacket for a malformed copy.
 */
export function separate(packet: Packet, packetSamples: number): [Packet, Copy | null] {
  if (packet.type !== AUDIO_WITH_COPY) return [packet, null];
  const content = packet.payload;
  const [distance, start, end] = layoutOf(content);
  const copy = {
    sequence: (packet.sequence - distance) >>> 0,
    captureTime: (packet.captureTime - distance * packetSamples) >>> 0,
    payload: content.subarray(start, end),
  };
  return [{ ...packet, type: AUDIO, payload: content.subarray(end) }, copy];
}

/** -> how many packets back the copy lies, where it begins and where it ends. */
function layoutOf(content: Uint8Array): [number, number, number] {
  let length = 0;
  let start = 1;
  if (content.length > 0) {
    length = content[0] & LONG;
    if (length === LONG && content.length > 1) {
      length += content[1];
      start = 2;
    }
  }
  if (length === 0 || start + length >= content.length) {
    throw new MalformedPacket(
      `packet of ${content.length} bytes with a copy of ${length}: the copy and a payload, ` +
        'of at least a byte each, must fit in it',
    );
  }
  return [(content[0] >> 6) + 1, start, start + length];
}
