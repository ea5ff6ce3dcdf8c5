// The websocket to the relay: says hello, passes on what comes, asks for the time, and carries out
// what a Reconnect decides. It keeps no media.

import { NORMAL } from '../wire/close-codes.ts';
import type { Hello, Message, Role, Welcome } from '../wire/messages.ts';
import { MalformedMessage, parseMessage, writeMessage } from '../wire/messages.ts';
import { MalformedPacket, VERSION } from '../wire/packet.ts';
import { USUAL_COPY_DISTANCE } from '../wire/redundancy.ts';
import { Restorer, Shortener } from '../wire/short-headers.ts';
import type { StreamInfo } from '../wire/stream-info.ts';
import { Backlog } from './backlog.ts';
import { ClockSync } from './clock-sync.ts';
import type { Decision } from './reconnect.ts';
import { Reconnect } from './reconnect.ts';

export const SUBPROTOCOL = `streamcodec.v${VERSION}`;
/** Between requests for the time: silence is noticed by the answers that do not come. */
const TIME_INTERVAL_MS = 400;
/** What was captured longer ago is not worth sending. */
const LONGEST_BACKLOG_MS = 400;

const NO_RELAY = 'what answers there is no relay of this version';

/** What is told of a connection to a relay. */
export interface ConnectionListener {
  /** The relay has let us in. `connection` counts, from 1; what is sent from now on goes over it. */
  connected(welcome: Welcome, connection: number): void;
  /** There is none for now, and why; told again where the reason changes. */
  disconnected(reason: string): void;
  /** A media packet with its whole header. `receivedMs`: by the clock of the surroundings. */
  media(datagram: Uint8Array, receivedMs: number): void;
  /** Anything but the welcome and the time. */
  message(message: Message): void;
  /** It is over, and why; empty after `leave`. */
  ended(reason: string): void;
}

/** What a connection needs of a WebSocket. */
export type Socket = Pick<
  WebSocket,
  | 'binaryType'
  | 'protocol'
  | 'bufferedAmount'
  | 'onopen'
  | 'onclose'
  | 'onmessage'
  | 'send'
  | 'close'
>;

/** What is around a connection; tests bring their own. */
export interface Surroundings {
  /** Begins an attempt. Throws for a URL that is none. */
  open(url: string, subprotocol: string): Socket;
  /** ms of a monotonic clock. */
  now(): number;
  /** Calls `run` once, in so many ms. -> what ends it before. */
  after(ms: number, run: () => void): () => void;
  /** 0 to 1. */
  random(): number;
}

/** Which room of which relay, and as whom. */
export interface Seat {
  /** ws:// or wss:// */
  url: string;
  room: string;
  name: string;
  token: string;
  /** Of the own stream; null for who only listens. */
  streamInfo: StreamInfo | null;
}

/** `begin`, then it connects, and connects again, until `leave` or an end that it tells. */
export class RelayConnection {
  /** The relay's clock, of the connection in use. */
  readonly sync = new ClockSync();
  readonly #listener: ConnectionListener;
  readonly #around: Surroundings;
  readonly #url: string;
  readonly #hello: Hello;
  readonly #reconnect: Reconnect;
  #attempt: Socket | null = null;
  #conversation: Conversation | null = null; // over the connection in use
  #connections = 0;
  readonly #decided: Decision[] = []; // and not carried out yet, but for the first
  #stopTimer = () => {};
  #wakesMs = Infinity; // what it waits for
  #stopAsking = () => {};

  constructor(seat: Seat, listener: ConnectionListener, around: Surroundings) {
    const role: Role = seat.streamInfo === null ? 'listen' : 'both';
    this.#listener = listener;
    this.#around = around;
    this.#url = seat.url;
    this.#hello = {
      type: 'hello',
      version: VERSION,
      role,
      room: seat.room,
      name: seat.name,
      streamInfo: seat.streamInfo,
      resume: '',
      copies: USUAL_COPY_DISTANCE,
      token: seat.token,
      presence: true,
    };
    this.#reconnect = new Reconnect(around.now(), role !== 'listen', () => around.random());
  }

  /** Looks for the relay. To be called once. */
  begin(): void {
    this.#apply(this.#reconnect.tick(this.#around.now()));
  }

  /** Says goodbye. */
  leave(): void {
    this.#apply(this.#reconnect.leave());
  }

  /**
   * A media packet with its whole header -> how many bytes were written. 0: none, because there is
   * no connection or what was written before still waits.
   */
  send(datagram: Uint8Array): number {
    if (this.#conversation === null || !this.#reconnect.connected) return 0;
    return this.#conversation.sendMedia(datagram, this.#around.now());
  }

  /** Lost where there is no connection. */
  tell(message: Message): void {
    if (this.#reconnect.connected) this.#conversation?.say(message, this.#around.now());
  }

  /** Carries out decisions, then waits until the next is due. */
  #apply(decisions: Decision[]): void {
    // A listener that is told of one may leave: what follows from that comes behind the others.
    const busy = this.#decided.length > 0;
    this.#decided.push(...decisions);
    if (busy) return;
    while (this.#decided.length > 0) {
      this.#carryOut(this.#decided[0]);
      this.#decided.shift();
    }
    const wakeMs = this.#reconnect.wakeMs;
    // Each packet puts it off. A timer that comes too early costs less than one for each packet.
    if (wakeMs >= this.#wakesMs && wakeMs < Infinity) return;
    this.#stopTimer();
    this.#wakesMs = wakeMs;
    if (wakeMs === Infinity) return;
    this.#stopTimer = this.#around.after(Math.max(0, wakeMs - this.#around.now()), () => {
      this.#wakesMs = Infinity;
      this.#apply(this.#reconnect.tick(this.#around.now()));
    });
  }

  #carryOut(decision: Decision): void {
    switch (decision.do) {
      case 'open':
        this.#open();
        break;
      case 'abandon':
        if (this.#attempt !== null) silence(this.#attempt);
        this.#attempt = null;
        break;
      case 'greet':
        this.#greet();
        break;
      case 'drop':
        this.#drop();
        break;
      case 'tell':
        this.#listener.disconnected(decision.reason);
        break;
      case 'end':
        this.#listener.ended(decision.reason);
    }
  }

  #open(): void {
    let socket: Socket;
    try {
      socket = this.#around.open(this.#url, SUBPROTOCOL);
    } catch (error) {
      // No URL of a websocket; or ws:// although the page came by https://, which browsers forbid.
      this.#apply(this.#reconnect.impossible(`no connection to ${this.#url}: ${String(error)}`));
      return;
    }
    this.#attempt = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      if (socket.protocol === SUBPROTOCOL) {
        this.#apply(this.#reconnect.opened(this.#around.now()));
      } else {
        this.#fail(NO_RELAY);
      }
    };
    socket.onclose = () => this.#fail();
  }

  /** The attempt under way has come to nothing. */
  #fail(reason?: string): void {
    if (this.#attempt !== null) silence(this.#attempt);
    this.#attempt = null;
    this.#apply(this.#reconnect.failed(this.#around.now(), reason));
  }

  #greet(): void {
    const socket = this.#attempt!;
    this.#attempt = null;
    const conversation = new Conversation(socket);
    this.#conversation = conversation;
    socket.onopen = null;
    socket.onmessage = event => this.#take(conversation, event.data);
    socket.onclose = ({ code, reason }) => {
      this.#drop();
      const said = conversation.complaint || reason;
      this.#apply(this.#reconnect.closed(this.#around.now(), code, said));
    };
    conversation.say(this.#hello, this.#around.now());
  }

  #drop(): void {
    if (this.#conversation !== null) silence(this.#conversation.socket);
    this.#conversation = null;
    this.#stopAsking();
    this.sync.forget();
  }

  #take(conversation: Conversation, data: unknown): void {
    const nowMs = this.#around.now();
    this.#apply(this.#reconnect.heard(nowMs));
    if (data instanceof ArrayBuffer) {
      const datagram = conversation.restored(new Uint8Array(data));
      if (datagram !== null && this.#reconnect.connected) this.#listener.media(datagram, nowMs);
    } else if (typeof data === 'string') {
      const message = understood(data);
      if (message !== null) this.#hear(conversation, message, nowMs);
    }
  }

  #hear(conversation: Conversation, message: Message, nowMs: number): void {
    switch (message.type) {
      case 'welcome':
        if (this.#reconnect.connected) return;
        this.#reconnect.welcomed(nowMs);
        this.#hello.resume = message.session;
        this.#connections += 1;
        this.#ask();
        this.#listener.connected(message, this.#connections);
        return;
      case 'time':
        this.sync.answered(message, nowMs);
        this.#apply(this.#reconnect.answered(message.sentMs));
        return;
      case 'error':
        conversation.complaint = message.message;
    }
    if (this.#reconnect.connected) this.#listener.message(message);
  }

  /** Asks for the time, again and again, until the connection is dropped. */
  #ask(): void {
    this.tell(this.sync.request(this.#around.now()));
    this.#stopAsking = this.#around.after(TIME_INTERVAL_MS, () => this.#ask());
  }
}

/** What is said over one socket. */
class Conversation {
  readonly socket: Socket;
  /** What the relay said before it closed; empty before. */
  complaint = '';
  readonly #shortener = new Shortener();
  readonly #restorer = new Restorer();
  readonly #backlog = new Backlog();

  constructor(socket: Socket) {
    this.socket = socket;
  }

  /** -> how many bytes were written; 0 where too much waits. */
  sendMedia(datagram: Uint8Array, nowMs: number): number {
    if (this.#backlog.waitingMs(this.socket.bufferedAmount, nowMs) > LONGEST_BACKLOG_MS) return 0;
    const frame = new Uint8Array(this.#shortener.shorten(datagram));
    this.#backlog.wrote(frame.length, this.socket.bufferedAmount, nowMs);
    this.socket.send(frame);
    return frame.length;
  }

  say(message: Message, nowMs: number): void {
    const text = writeMessage(message);
    const { length } = new TextEncoder().encode(text);
    this.#backlog.wrote(length, this.socket.bufferedAmount, nowMs);
    this.socket.send(text);
  }

  /** A binary frame -> the packet with its whole header; null for a malformed one. */
  restored(frame: Uint8Array): Uint8Array | null {
    try {
      return this.#restorer.restore(frame);
    } catch (error) {
      if (error instanceof MalformedPacket) return null;
      throw error;
    }
  }
}

/** Null for what this page does not know or cannot read: a newer relay may say more. */
function understood(text: string): Message | null {
  try {
    return parseMessage(text);
  } catch (error) {
    if (error instanceof MalformedMessage) return null;
    throw error;
  }
}

/** Nothing more is heard of a socket, which is closed if it is not. */
function silence(socket: Socket): void {
  socket.onopen = socket.onclose = socket.onmessage = null;
  socket.close(NORMAL);
}
