// Who is in the room, as far as the relay has said.

import type { Introduction, Listening, Message, Welcome } from '../wire/messages.ts';
import type { StreamInfo } from '../wire/stream-info.ts';

/** Somebody who talks. */
export interface Talker {
  stream: number;
  name: string;
  info: StreamInfo;
  /** Has stopped sending on purpose. */
  muted: boolean;
}

const NAMELESS = 'Somebody';

/** Methods that take what the relay said return notices for the user, one text each. */
export class Room {
  readonly #ownName: string;
  readonly #talks: boolean;
  readonly #talkers = new Map<number, Talker>();
  #connections = 0;
  #lost = new Set<number>(); // streams of the connection before, not mentioned in this one yet
  #untold = 0; // talkers who were there before us, and did not fit into the welcome
  #listening: string[] | null = null; // without ourselves; null before the relay has told

  /** Of the own stream; null while there is none. */
  stream: number | null = null;
  /** Whether a moderator has silenced us. */
  silenced = false;
  /** How many only listen, without ourselves. */
  listeners = 0;

  /** `talks`: whether we do, or only listen. */
  constructor(ownName: string, talks: boolean) {
    this.#ownName = ownName;
    this.#talks = talks;
  }

  /** The others who talk, in the order in which they came. */
  get talkers(): Talker[] {
    return [...this.#talkers.values()];
  }

  /** Names of at most 16 of those who only listen. */
  get listenerNames(): string[] {
    return this.#listening ?? [];
  }

  /** The relay has let us in, at first or again. */
  connected(welcome: Welcome): string[] {
    this.stream = welcome.stream;
    this.silenced = false; // else it says so behind the welcome
    this.#lost = new Set(this.#talkers.keys());
    const others = welcome.talkers - (welcome.stream === null ? 0 : 1);
    const notices = welcome.streams.flatMap(start => this.#start(start));
    this.#untold = Math.max(0, others - welcome.streams.length);
    for (const talker of this.#talkers.values()) talker.muted = false; // else it says so
    this.#connections += 1;
    return withoutReturns([...this.#news(notices), ...this.#forgetLost()]);
  }

  /** Anything that the relay said behind its welcome. */
  message(message: Message): string[] {
    switch (message.type) {
      case 'stream_start':
        return this.#startLater(message);
      case 'stream_end':
        return this.#end(message.stream);
      case 'mute': {
        const talker = this.#talkers.get(message.stream);
        if (talker !== undefined) talker.muted = message.muted;
        return [];
      }
      case 'listening':
        return this.#listen(message);
      case 'silenced':
        if (message.silenced === this.silenced) return [];
        this.silenced = message.silenced;
        return [
          message.silenced
            ? 'A moderator has silenced you: nobody hears you'
            : 'A moderator lets you speak again',
        ];
      default:
        return [];
    }
  }

  #start({ stream, name, info }: Introduction): string[] {
    const known = this.#talkers.get(stream);
    this.#lost.delete(stream);
    if (known !== undefined && known.name === name) {
      known.info = info;
      return [];
    }
    this.#talkers.set(stream, { stream, name, info, muted: false });
    return [...(known === undefined ? [] : [left(known.name)]), joined(name)];
  }

  #startLater(start: Introduction): string[] {
    const notices = this.#start(start);
    if (this.#untold === 0) return notices;
    this.#untold -= 1;
    return [...this.#news(notices), ...this.#forgetLost()];
  }

  /** Of those who were there when we came: at first there is nothing to say. */
  #news(notices: string[]): string[] {
    return this.#connections > 1 ? notices : [];
  }

  #end(stream: number): string[] {
    const talker = this.#talkers.get(stream);
    if (talker === undefined) return [];
    this.#talkers.delete(stream);
    return [left(talker.name)];
  }

  /** Talkers who left while we had no connection, once all who are there were mentioned. */
  #forgetLost(): string[] {
    if (this.#untold > 0) return [];
    const gone = [...this.#lost];
    this.#lost.clear();
    return gone.flatMap(stream => this.#end(stream));
  }

  #listen({ listeners, names }: Listening): string[] {
    const others = [...names];
    const self = this.#talks ? -1 : others.indexOf(this.#ownName);
    if (self >= 0) others.splice(self, 1);
    const before = this.#listening;
    const allNamed = names.length === listeners && (before ?? []).length === this.listeners;
    this.#listening = others;
    this.listeners = listeners - (this.#talks ? 0 : 1);
    // Where some are not named, a name that is new may be of somebody who was here.
    if (before === null || !allNamed) return [];
    return [
      ...without(before, others).map(left),
      ...without(others, before).map(name => `${joined(name)}, to listen`),
    ];
  }
}

function joined(name: string): string {
  return `${name || NAMELESS} joined`;
}

function left(name: string): string {
  return `${name || NAMELESS} left`;
}

/** Those of `names` that are not among `others`, each of which stands for one. */
function without(names: string[], others: string[]): string[] {
  const rest = [...others];
  return names.filter(name => {
    const at = rest.indexOf(name);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
}

/** Whoever both left and joined while we had no connection was only renumbered. */
function withoutReturns(notices: string[]): string[] {
  return notices.filter(text => {
    const name = text.replace(/ (joined|left)$/, '');
    return !(notices.includes(`${name} joined`) && notices.includes(`${name} left`));
  });
}
