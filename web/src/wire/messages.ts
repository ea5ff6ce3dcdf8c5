// Control messages (docs/protocol.md): those that a page sends or gets, with names as TypeScript
// has them.

import { Fields, MalformedMessage } from './fields.ts';
import { VERSION } from './packet.ts';
import { MAX_COPY_DISTANCE } from './redundancy.ts';
import type { StreamInfo } from './stream-info.ts';

export { MalformedMessage };

/** Of a message, in UTF-8. */
const MAX_MESSAGE_BYTES = 4096;
const MAX_TOKEN_CHARACTERS = 2048;
const MAX_MEMBERS = 2 ** 31;
const MOST_NAMED = 16;

/** Whether a connection sends audio, receives it, or both. */
export type Role = 'talk' | 'listen' | 'both';

/** Client to relay, the first message of a connection. */
export interface Hello {
  type: 'hello';
  version: number;
  role: Role;
  room: string;
  name: string;
  /** Required of a talker. */
  streamInfo: StreamInfo | null;
  /** Session of the previous connection, whose stream this one continues; empty at first. */
  resume: string;
  /** How many packets back a copy may lie that this listener takes: 0 to 4. */
  copies: number;
  /** Leave to join, where the relay asks for it. */
  token: string;
  /** Whether the relay is to tell who only listens. */
  presence: boolean;
}

/** Who talks, as others are told. */
export interface Introduction {
  /** Number in the header of its packets. */
  stream: number;
  name: string;
  info: StreamInfo;
}

/** A talker joined, came back, or changed its info. */
export interface StreamStart extends Introduction {
  type: 'stream_start';
}

/** Relay to client, its answer to a hello. */
export interface Welcome {
  type: 'welcome';
  session: string;
  room: string;
  /** Number of the client's own stream; null for a listener. */
  stream: number | null;
  /** The other talkers; a stream_start follows for each that does not fit. */
  streams: Introduction[];
  /** How many there are, oneself included. */
  talkers: number;
  listeners: number;
}

/** A talker left. */
export interface StreamEnd {
  type: 'stream_end';
  stream: number;
}

/** Talker to relay: its info has changed. */
export interface StreamUpdate {
  type: 'stream_info';
  info: StreamInfo;
}

/** Listener to the talker of `stream`: how it is received. The relay sets the last two. */
export interface Report {
  type: 'report';
  stream: number;
  /** At most 32 numbers, by the names that docs/protocol.md and the Python client use. */
  statistics: Record<string, number>;
  name: string;
  /** Distinguishes listeners of the same name. */
  listener: number;
}

/** The talker has stopped sending on purpose, or begins again. The relay sets `stream`. */
export interface Mute {
  type: 'mute';
  muted: boolean;
  stream: number;
}

/** Client to relay, which sends it back with its own clock's time. Both in ms. */
export interface Time {
  type: 'time';
  sentMs: number;
  relayMs: number;
}

/**
 * Sample `captureTime` of the stream was captured when the relay's clock showed relayMs. The relay
 * sets `stream`.
 */
export interface Capture {
  type: 'capture';
  captureTime: number;
  relayMs: number;
  stream: number;
}

/** Relay to talker: how many packets back a copy may lie that any listener takes. */
export interface CopiesWanted {
  type: 'copies_wanted';
  copies: number;
}

/** How many members only listen, and the names of those who came first. */
export interface Listening {
  type: 'listening';
  listeners: number;
  names: string[];
}

/** Relay to talker: a moderator has silenced it, or lets it speak again. */
export interface Silenced {
  type: 'silenced';
  silenced: boolean;
}

/** The last message before the relay closes with `code`. */
export interface ErrorMessage {
  type: 'error';
  code: number;
  message: string;
}

export type Message =
  | Hello
  | Welcome
  | StreamStart
  | StreamEnd
  | StreamUpdate
  | Report
  | Mute
  | Time
  | Capture
  | CopiesWanted
  | Listening
  | Silenced
  | ErrorMessage;

/**
 * A text frame -> what it says; null for types that a page does not know. Unknown fields are
 * ignored. Throws MalformedMessage, naming the field.
 */
export function parseMessage(text: string): Message | null {
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (error) {
    throw new MalformedMessage(`control message is no JSON: ${String(error)}`);
  }
  const fields = Fields.of(values, 'control message');
  const type = fields.string('type');
  return parseFields(type, fields.as(type));
}

/**
 * -> the text frame. Throws MalformedMessage for what a relay would not take: numbers that are not
 * finite, and a text that is too long.
 */
export function writeMessage(message: Message): string {
  const text = JSON.stringify(snakeCase(message));
  const size = new TextEncoder().encode(text).length;
  if (size > MAX_MESSAGE_BYTES) {
    throw new MalformedMessage(`message of ${size} bytes: at most ${MAX_MESSAGE_BYTES} may be`);
  }
  return text;
}

function parseFields(type: string, fields: Fields): Message | null {
  switch (type) {
    case 'hello':
      return parseHello(fields);
    case 'welcome':
      return {
        type,
        session: fields.name('session'),
        room: fields.name('room'),
        stream: fields.has('stream') ? fields.stream() : null,
        streams: fields.sections('streams').map(parseIntroduction),
        talkers: fields.integer('talkers', 0, MAX_MEMBERS),
        listeners: fields.integer('listeners', 0, MAX_MEMBERS),
      };
    case 'stream_start':
      return { type, ...parseIntroduction(fields) };
    case 'stream_end':
      return { type, stream: fields.stream() };
    case 'stream_info':
      return { type, info: parseInfo(fields.section('info')) };
    case 'report':
      return {
        type,
        stream: fields.stream(),
        statistics: fields.statistics('statistics'),
        name: fields.text('name', ''),
        listener: fields.integer('listener', 0, Number.MAX_SAFE_INTEGER, 0),
      };
    case 'mute':
      return { type, muted: fields.boolean('muted'), stream: fields.stream(0) };
    case 'time':
      return { type, sentMs: fields.number('sent_ms'), relayMs: fields.number('relay_ms', 0) };
    case 'capture':
      return {
        type,
        captureTime: fields.integer('capture_time', 0, 2 ** 32 - 1),
        relayMs: fields.number('relay_ms'),
        stream: fields.stream(0),
      };
    case 'copies_wanted':
      return { type, copies: fields.integer('copies', 0, MAX_COPY_DISTANCE) };
    case 'listening':
      return {
        type,
        listeners: fields.integer('listeners', 0, MAX_MEMBERS),
        names: fields.texts('names', MOST_NAMED),
      };
    case 'silenced':
      return { type, silenced: fields.boolean('silenced') };
    case 'error':
      return {
        type,
        code: fields.integer('code', 1000, 4999),
        message: fields.text('message', undefined, MAX_MESSAGE_BYTES),
      };
    default:
      return null;
  }
}

function parseHello(fields: Fields): Hello {
  // First, because in another version the other fields may mean something else.
  fields.integer('version', VERSION, VERSION);
  const role = fields.choice('role', ['talk', 'listen', 'both'] as const);
  const info = fields.has('stream_info') ? parseInfo(fields.section('stream_info')) : null;
  if (info === null && role !== 'listen') {
    throw new MalformedMessage(`hello lacks stream_info: role ${role} sends audio`);
  }
  return {
    type: 'hello',
    version: VERSION,
    role,
    room: fields.name('room'),
    name: fields.text('name', ''),
    streamInfo: info,
    resume: fields.text('resume', ''),
    copies: fields.integer('copies', 0, MAX_COPY_DISTANCE, 0),
    token: fields.text('token', '', MAX_TOKEN_CHARACTERS),
    presence: fields.boolean('presence', false),
  };
}

function parseIntroduction(fields: Fields): Introduction {
  return {
    stream: fields.stream(),
    name: fields.text('name', ''),
    info: parseInfo(fields.section('info')),
  };
}

function parseInfo(fields: Fields): StreamInfo {
  return {
    model: fields.hexDigits('model', 16),
    sampleRate: fields.integer('sample_rate', 4_000, 384_000),
    channels: fields.integer('channels', 1, 2),
    packetSamples: fields.integer('packet_samples', 1, 384_000),
    baseLevel: fields.integer('base_level', 0, 255),
    bitrateBps: fields.integer('bitrate_bps', 0, 1_000_000, 0),
    redundancy: fields.integer('redundancy', 0, MAX_COPY_DISTANCE, 0),
    keyId: digitsIfAny(fields, 'key_id'),
    highBand: digitsIfAny(fields, 'high_band'),
    jointStereo: digitsIfAny(fields, 'joint_stereo'),
  };
}

function digitsIfAny(fields: Fields, name: string): string {
  return fields.text(name, '') === '' ? '' : fields.hexDigits(name, 16);
}

/** Field names as on the wire. The names of statistics are data, and stay what they are. */
function snakeCase(value: unknown, renamed = true): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    // JSON would have null for it, and the relay would close the connection.
    throw new MalformedMessage(`${value} cannot be said in JSON`);
  }
  if (Array.isArray(value)) return value.map(item => snakeCase(item));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, held]) => [
      renamed ? name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`) : name,
      snakeCase(held, name !== 'statistics'),
    ]),
  );
}
