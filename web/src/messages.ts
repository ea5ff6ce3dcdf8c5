// What the page's main thread and its worker tell each other. The worker has the connection to the
// relay, the codec and the playout; the main thread has the microphone, the loudspeaker and what
// one sees.

/** Main thread to worker. */
export type Request =
  /** Fetches the codec, which `open` waits for: a page can do so before anybody clicks. */
  | { type: 'load'; codecFiles: CodecFiles }
  | { type: 'open'; settings: CallSettings }
  /** The loudspeaker is there; sound goes through `link` at its rate. */
  | { type: 'output'; link: SoundLink }
  /** How long the loudspeaker takes to play what it is given; changes with the device. */
  | { type: 'latency'; latencyMs: number }
  /** The microphone is there. */
  | { type: 'input'; link: SoundLink }
  /** The same where the browser gives its sound to workers. */
  | { type: 'frames'; frames: ReadableStream<AudioData> }
  | { type: 'mute'; muted: boolean }
  /** Louder or quieter, in dB; of one talker where a stream is named, else of everybody. */
  | { type: 'volume'; stream: number | null; decibels: number }
  /** Whether a talker is to be heard at all. */
  | { type: 'hear'; stream: number; heard: boolean }
  | { type: 'leave' };

/** Where the codec is: paths of model-file.ts's files, and of tables-file.ts's; '' for none. */
export interface CodecFiles {
  base: string;
  layered: string;
  tables: string;
}

export interface CallSettings {
  /** ws:// or wss://, without a path. */
  relayUrl: string;
  room: string;
  name: string;
  /** Without a microphone one only listens. */
  talks: boolean;
  token: string;
  bitrateBps: number;
}

/**
 * The way to an AudioWorklet. `sampleRate` in Hz and `channels`, of the sound that goes through.
 * `memory` is a ring that both sides share (see audio/ring.ts); null where the page is not isolated
 * from other origins, so that none may be had: then samples travel in messages through `port`.
 */
export interface SoundLink {
  sampleRate: number;
  channels: number;
  port: MessagePort;
  memory: SharedArrayBuffer | null;
}

/** Worker to main thread. */
export type Event =
  /** The codec is being fetched: so many bytes of so many. */
  | { type: 'loading'; bytes: number; of: number }
  /** Five times a second. */
  | { type: 'state'; state: CallState }
  /** Said once: who came, who left, what cannot be heard. */
  | { type: 'notice'; text: string }
  /** It is over and does not begin again by itself. */
  | { type: 'ended'; reason: string };

export interface CallState {
  connection: 'loading' | 'connecting' | 'connected' | 'reconnecting';
  /** Why it is not connected; empty where it is. */
  reason: string;
  room: string;
  me: Me;
  /** Talkers, in the order in which they came. */
  people: Person[];
  /** How many only listen, oneself not among them, and names of at most 16 of them. */
  listeners: number;
  listenerNames: string[];
  /** Round trip to the relay; null while not known. */
  roundTripMs: number | null;
  /** Times that the loudspeaker had nothing to play, of the last ten seconds: a slow computer. */
  underruns: number;
}

export interface Me {
  name: string;
  talks: boolean;
  muted: boolean;
  /** By a moderator: nobody hears it. */
  silenced: boolean;
  /** Whether the microphone gives sound at all. */
  captures: boolean;
  level: Level;
  /** bit/s of payloads that are sent, over the last seconds. */
  bitrateBps: number;
}

/** In dB below full scale, at least -90: of the last tenth of a second, and the peak lately. */
export interface Level {
  rmsDb: number;
  peakDb: number;
  /** That peak was full scale. */
  clipping: boolean;
  /** For how long nothing was louder than -75 dB, as of a microphone that is switched off; in s. */
  silentS: number;
}

export interface Person {
  stream: number;
  name: string;
  level: Level;
  muted: boolean;
  /** Why this talker cannot be heard at all; empty where that is not so. */
  unheard: string;
  /** From mouth to ear; null while not known. */
  delayMs: number | null;
  /** Of the last ten seconds. */
  concealedPercent: number;
  /** The E-model's mean opinion score, 1 to 4.41; null while not known. */
  mos: number | null;
  jitterMs: number;
  /** What the user chose. */
  volumeDb: number;
  heard: boolean;
}
