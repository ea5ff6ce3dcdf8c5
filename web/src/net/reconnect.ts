// When to connect to a relay, when to doubt a connection, when to give up. No timers and no sockets:
// events come in with the time at which they happened, decisions go out (docs/protocol.md).
//
// TCP repeats lost data at doubling intervals, so after an outage a new connection works long
// before the old one does again. A browser opens one connection to a host after the other, and does
// not say whether an attempt has reached anybody: so there is one attempt at a time, with a limit.

import { isFinal, meaningOf } from '../wire/close-codes.ts';

/** What to do, in the order of the list. */
export type Decision =
  /** Begin an attempt at a connection. */
  | { do: 'open' }
  /** Close the attempt under way. */
  | { do: 'abandon' }
  /** The attempt that has just opened is the connection now: say hello. */
  | { do: 'greet' }
  /** Close the connection in use, if it still is open. */
  | { do: 'drop' }
  /** Tell the user: there is no connection, for this reason. Once, and at each change. */
  | { do: 'tell'; reason: string }
  /** It is over. `reason`: why; empty after `leave`. */
  | { do: 'end'; reason: string };

/** How long to look for a relay that never let us in. */
const FIRST_CONNECTION_MS = 10_000;
/** For an attempt: TCP, TLS and HTTP. */
const OPEN_MS = 5_000;
// TCP repeats a lost SYN after 1, 3 and 7 s. Where opening has taken less before, an attempt that
// takes longer has lost something, and a new one is faster. Each third attempt in a row gets
// OPEN_MS all the same, since the way may be another now.
const QUICK_OPEN_MS = 1_000;
const QUICK_OPEN_TIMES = 2;
const PATIENT_EVERY = 3;
const WELCOME_MS = 5_000;
/** A relay that has let us in before does so at once, or the path has broken again. */
const WELCOME_AGAIN_MS = 1_500;
/** Of silence until another connection is tried. We ask for the time more often than this. */
const SUSPECT_MS = 1_500;
/** Of silence until a connection is given up in any case. */
const DEAD_MS = 4_500;
const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 5_000;
/** The longest in the first minute without a relay: somebody waits in mid-sentence. */
const EAGER_BACKOFF_MS = 600;
const EAGER_MS = 60_000;
/** A connection that held for so long earns the shortest back-off. */
const STEADY_MS = 5_000;

const BROKE = 'the connection broke';
const UNWELCOMED = 'the relay accepted the connection and said nothing';
const FAILED =
  'no connection to the relay: it may not be there, may not allow this page, or its certificate ' +
  'may not be trusted';
const TOO_SLOW = 'no connection to the relay: no answer came';

/** The connection in use. */
interface Current {
  sinceMs: number;
  heardMs: number;
  welcomed: boolean;
  /** When we began to doubt it; null while we do not. */
  suspectMs: number | null;
}

/** Attempts at connections and the one in use. Times are ms of a monotonic clock. */
export class Reconnect {
  readonly #beganMs: number;
  readonly #talks: boolean;
  readonly #random: () => number;
  #attemptMs: number | null = null; // when the attempt under way began
  #nextMs: number; // when the next one is due; infinity for not by itself
  #current: Current | null = null;
  #everWelcomed = false;
  #ended = false;
  #failures = 0; // in a row
  #openedInMs: number | null = null; // what the last attempt that opened took
  #relaySeenMs: number;
  #told = '';
  #failure = '';

  /**
   * `talks`: a silent connection must prove that what we send arrives, too. `random`: 0 to 1,
   * spreads back-offs over their upper half. The caller begins with a `tick`.
   */
  constructor(nowMs: number, talks: boolean, random: () => number) {
    this.#beganMs = this.#nextMs = this.#relaySeenMs = nowMs;
    this.#talks = talks;
    this.#random = random;
  }

  /** Whether the relay has let us in, over the connection in use. */
  get connected(): boolean {
    return this.#current?.welcomed ?? false;
  }

  /** When a `tick` is due, unless something happens before; infinity for never. */
  get wakeMs(): number {
    if (this.#ended) return Infinity;
    return Math.min(
      this.#everWelcomed ? Infinity : this.#beganMs + FIRST_CONNECTION_MS,
      this.#attemptMs === null ? this.#nextMs : this.#attemptMs + this.#openLimitMs,
      this.#current === null ? Infinity : this.#doubtMs(this.#current),
    );
  }

  /** Time has passed. */
  tick(nowMs: number): Decision[] {
    if (this.#ended) return [];
    if (!this.#everWelcomed && nowMs >= this.#beganMs + FIRST_CONNECTION_MS) {
      return this.#end(this.#failure || TOO_SLOW);
    }
    const decisions: Decision[] = [];
    if (this.#attemptMs !== null && nowMs >= this.#attemptMs + this.#openLimitMs) {
      decisions.push({ do: 'abandon' }, ...this.failed(nowMs, TOO_SLOW));
    }
    if (this.#current !== null && nowMs >= this.#doubtMs(this.#current)) {
      decisions.push(...this.#doubted(this.#current, nowMs));
    }
    if (this.#attemptMs === null && nowMs >= this.#nextMs) {
      this.#attemptMs = nowMs;
      this.#nextMs = Infinity;
      decisions.push({ do: 'open' });
    }
    return decisions;
  }

  /** The attempt under way has become a connection. */
  opened(nowMs: number): Decision[] {
    if (this.#attemptMs === null) return [];
    this.#openedInMs = nowMs - this.#attemptMs;
    this.#attemptMs = null;
    const before: Decision[] = this.#current === null ? [] : [{ do: 'drop' }, ...this.#tell(BROKE)];
    this.#current = { sinceMs: nowMs, heardMs: nowMs, welcomed: false, suspectMs: null };
    this.#relaySeenMs = nowMs;
    return [...before, { do: 'greet' }];
  }

  /** The attempt under way came to nothing. A browser does not say why. */
  failed(nowMs: number, reason = FAILED): Decision[] {
    if (this.#attemptMs === null) return [];
    this.#attemptMs = null;
    this.#backOff(nowMs);
    // While the old connection may still work again, this is not what the user should know.
    return this.#current === null ? this.#tell(reason) : [];
  }

  /** The relay has let us in. */
  welcomed(nowMs: number): void {
    if (this.#current === null) return;
    this.#current.welcomed = this.#everWelcomed = true;
    this.#current.heardMs = nowMs;
    this.#told = '';
  }

  /** Anything came over the connection in use. */
  heard(nowMs: number): Decision[] {
    if (this.#current === null) return [];
    this.#current.heardMs = nowMs;
    // After an outage each end of TCP repeats by its own timer: what we send may be stuck for a
    // second longer than what we receive, which matters to talkers only.
    return this.#talks ? [] : this.#trust();
  }

  /** The answer to the `time` that we sent at `sentMs` came. */
  answered(sentMs: number): Decision[] {
    const since = this.#current?.suspectMs ?? null;
    return since !== null && sentMs >= since ? this.#trust() : [];
  }

  /**
   * The connection in use has ended. `code`: as the browser gives it. `said`: what the relay gave
   * as its reason.
   */
  closed(nowMs: number, code: number, said: string): Decision[] {
    if (this.#current === null) return [];
    if (isFinal(code)) return this.#end(meaningOf(code, said));
    return this.#lost(this.#current, nowMs, meaningOf(code, said));
  }

  /** No attempt can be begun at all. */
  impossible(reason: string): Decision[] {
    return this.#end(reason);
  }

  /** The user leaves. */
  leave(): Decision[] {
    return this.#ended ? [] : this.#end('');
  }

  get #openLimitMs(): number {
    if (this.#openedInMs === null || this.#failures % PATIENT_EVERY === PATIENT_EVERY - 1) {
      return OPEN_MS;
    }
    return Math.min(OPEN_MS, Math.max(QUICK_OPEN_MS, QUICK_OPEN_TIMES * this.#openedInMs));
  }

  /** When the connection in use is to be doubted, or given up. */
  #doubtMs(current: Current): number {
    if (!current.welcomed) {
      return current.sinceMs + (this.#everWelcomed ? WELCOME_AGAIN_MS : WELCOME_MS);
    }
    return current.heardMs + (current.suspectMs === null ? SUSPECT_MS : DEAD_MS);
  }

  #doubted(current: Current, nowMs: number): Decision[] {
    if (!current.welcomed) return [{ do: 'drop' }, ...this.#lost(current, nowMs, UNWELCOMED)];
    if (current.suspectMs !== null) return [{ do: 'drop' }, ...this.#lost(current, nowMs, BROKE)];
    current.suspectMs = this.#relaySeenMs = this.#nextMs = nowMs;
    this.#failures = 0;
    return [];
  }

  /** The connection in use works after all. */
  #trust(): Decision[] {
    if (this.#current === null || this.#current.suspectMs === null) return [];
    this.#current.suspectMs = null;
    this.#nextMs = Infinity;
    return this.#abandon();
  }

  /** There is no connection in use any more. An attempt under way goes on. */
  #lost(current: Current, nowMs: number, reason: string): Decision[] {
    this.#current = null;
    // Attempts at another connection began when this one fell silent, and go on.
    if (current.suspectMs === null) {
      if (current.welcomed) this.#relaySeenMs = nowMs;
      this.#backOff(nowMs, current.welcomed && nowMs - current.sinceMs >= STEADY_MS);
    }
    return this.#tell(reason);
  }

  /** `steady`: what ended is a connection that held. */
  #backOff(nowMs: number, steady = false): void {
    this.#failures = steady ? 0 : this.#failures + 1;
    const eager = nowMs - this.#relaySeenMs < EAGER_MS;
    const mostMs = eager ? EAGER_BACKOFF_MS : LONGEST_BACKOFF_MS;
    const longestMs = Math.min(mostMs, FIRST_BACKOFF_MS * 2 ** Math.min(this.#failures, 10));
    this.#nextMs = nowMs + longestMs * (0.5 + 0.5 * this.#random());
  }

  #tell(reason: string): Decision[] {
    this.#failure = reason;
    if (reason === this.#told) return [];
    this.#told = reason;
    return [{ do: 'tell', reason }];
  }

  #abandon(): Decision[] {
    if (this.#attemptMs === null) return [];
    this.#attemptMs = null;
    return [{ do: 'abandon' }];
  }

  #end(reason: string): Decision[] {
    const dropped: Decision[] = this.#current === null ? [] : [{ do: 'drop' }];
    this.#ended = true;
    this.#current = null;
    return [...this.#abandon(), ...dropped, { do: 'end', reason }];
  }
}
