// Media packets: a 12-byte header and a payload (docs/protocol.md). On the wire most have shorter
// headers (see short-headers.ts).

import { DISCONTINUITY, DTX, RESET, VOICE } from './flags.ts';

/** Of the protocol: packets, messages and subprotocol. */
export const VERSION = 3;
export const HEADER_BYTES = 12;
export const MAX_PAYLOAD_BYTES = 1200;
/** Of the first byte: a short header. */
export const SHORT = 0x08;
/** Types of packets: audio, and audio that carries a copy of an earlier packet. */
export const AUDIO = 0;
export const AUDIO_WITH_COPY = 2;

const TYPES = 8;
const KNOWN_FLAGS = RESET | VOICE | DTX | DISCONTINUITY;

/** A media packet that breaks the wire format, or is of another version of it. */
export class MalformedPacket extends Error {
  override readonly name = 'MalformedPacket';
}

export interface Packet {
  /** AUDIO, AUDIO_WITH_COPY, or 0 to 7 of a later version: such a packet is to be ignored. */
  type: number;
  /** Of flags.ts. */
  flags: number;
  /** Number of the talker's stream; the relay sets it. */
  stream: number;
  /** Counts the packets of a stream, modulo 2^32. */
  sequence: number;
  /** Position of the packet's first sample, in samples at the stream's rate, modulo 2^32. */
  captureTime: number;
  payload: Uint8Array;
}

/** -> the packet with its whole header. Throws MalformedPacket where a field is out of range. */
export function serialize(packet: Packet): Uint8Array {
  checkField('type', packet.type, TYPES);
  checkField('stream', packet.stream, 2 ** 16);
  checkField('sequence', packet.sequence, 2 ** 32);
  checkField('capture time', packet.captureTime, 2 ** 32);
  checkPayload(packet.type, packet.flags, packet.payload.length);
  const datagram = new Uint8Array(HEADER_BYTES + packet.payload.length);
  const view = viewOf(datagram);
  datagram[0] = (VERSION << 4) | packet.type;
  datagram[1] = packet.flags & KNOWN_FLAGS;
  view.setUint16(2, packet.stream);
  view.setUint32(4, packet.sequence);
  view.setUint32(8, packet.captureTime);
  datagram.set(packet.payload, HEADER_BYTES);
  return datagram;
}

/**
 * Of a packet with its whole header. Unknown flags are dropped; the payload shares the datagram's
 * memory. Throws MalformedPacket.
 */
export function parse(datagram: Uint8Array): Packet {
  check(datagram);
  const view = viewOf(datagram);
  return {
    type: datagram[0] % TYPES,
    flags: datagram[1] & KNOWN_FLAGS,
    stream: view.getUint16(2),
    sequence: view.getUint32(4),
    captureTime: view.getUint32(8),
    payload: datagram.subarray(HEADER_BYTES),
  };
}

/** Throws what `parse` would throw. */
export function check(datagram: Uint8Array): void {
  if (datagram.length === 0) {
    throw new MalformedPacket(`need ${HEADER_BYTES} header bytes, got 0`);
  }
  checkVersion(datagram);
  if (datagram[0] & SHORT) {
    throw new MalformedPacket('short header: only the connection it came over can restore it');
  }
  if (datagram.length < HEADER_BYTES) {
    throw new MalformedPacket(`need ${HEADER_BYTES} header bytes, got ${datagram.length}`);
  }
  checkPayload(datagram[0] % TYPES, datagram[1], datagram.length - HEADER_BYTES);
}

/** Of a packet of at least a byte. Throws MalformedPacket. */
export function checkVersion(datagram: Uint8Array): void {
  const version = datagram[0] >> 4;
  if (version !== VERSION) {
    throw new MalformedPacket(`packet of version ${version}: this page speaks ${VERSION}`);
  }
}

/** `size`: bytes of the payload of a packet of that type. Throws MalformedPacket. */
export function checkPayload(type: number, flags: number, size: number): void {
  if (size > MAX_PAYLOAD_BYTES) {
    throw new MalformedPacket(`payload of ${size} bytes: at most ${MAX_PAYLOAD_BYTES} may be`);
  }
  if (size === 0 && type === AUDIO && !(flags & DTX)) {
    throw new MalformedPacket('empty payload: only a packet with the DTX flag may have none');
  }
}

/** The bytes of a datagram as numbers, wherever it lies in its buffer. */
export function viewOf(datagram: Uint8Array): DataView {
  return new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
}

function checkField(name: string, value: number, limit: number): void {
  if (!(Number.isInteger(value) && value >= 0 && value < limit)) {
    throw new MalformedPacket(`${name} must be 0 to ${limit - 1}, got ${value}`);
  }
}
