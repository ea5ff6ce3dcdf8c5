// Asks the relay again and again which rooms are open, while somebody looks at the answer.

/** How many people are in a room: those who may talk, and those who only listen. */
export interface OpenRoom {
  name: string;
  talkers: number;
  onlyListening: number;
}

/** What is known of the rooms that are open. */
export type Known =
  /** The fullest ones, and how many there are besides. */
  | { type: 'rooms'; rooms: OpenRoom[]; leftOut: number }
  /** Nothing now; it is tried again. */
  | { type: 'trouble'; text: string }
  /** The relay does not show them to whoever has this link. */
  | { type: 'nothing' };

const EVERY_MS = 7000;
/** A relay that does not answer is asked less often, down to this. */
const RAREST_MS = 60_000;
const PATIENCE_MS = 10_000;
const TOKEN_WANTED = 401;
const REFUSED = 403;

/** Asks only between `start` and `stop`, and while the tab is seen. */
export class RoomWatch {
  readonly #path: string;
  readonly #token: () => string;
  readonly #tell: (known: Known) => void;
  /** Of what is under way, or waited for. */
  #asking = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #started = false;
  #waitMs = EVERY_MS;

  /** `token`: of the link, asked for each time; an empty one is not sent. */
  constructor(path: string, token: () => string, tell: (known: Known) => void) {
    this.#path = path;
    this.#token = token;
    this.#tell = tell;
    document.addEventListener('visibilitychange', () => this.#begin());
  }

  start(): void {
    this.#started = true;
    this.#begin();
  }

  stop(): void {
    this.#started = false;
    this.#begin();
  }

  /** Asks at once, or ends what is under way where nobody looks. */
  #begin(): void {
    this.#asking.abort();
    clearTimeout(this.#timer);
    this.#waitMs = EVERY_MS;
    if (!this.#started || document.visibilityState !== 'visible') return;
    this.#asking = new AbortController();
    void this.#ask(this.#asking.signal);
  }

  async #ask(over: AbortSignal): Promise<void> {
    const known = await this.#known(over);
    if (over.aborted) return;
    this.#tell(known);
    this.#waitMs = known.type === 'trouble' ? Math.min(2 * this.#waitMs, RAREST_MS) : EVERY_MS;
    if (known.type !== 'nothing') {
      this.#timer = setTimeout(() => void this.#ask(over), this.#waitMs);
    }
  }

  async #known(over: AbortSignal): Promise<Known> {
    const token = this.#token();
    try {
      const answer = await fetch(this.#path, {
        headers: token === '' ? {} : { Authorization: `Bearer ${token}` },
        cache: 'no-store',
        credentials: 'omit',
        signal: AbortSignal.any([over, AbortSignal.timeout(PATIENCE_MS)]),
      });
      if (answer.status === TOKEN_WANTED) return { type: 'nothing' };
      if (answer.status === REFUSED) return { type: 'trouble', text: await answer.text() };
      if (answer.ok) return { type: 'rooms', ...readRooms(await answer.json()) };
    } catch {
      // As below.
    }
    return { type: 'trouble', text: 'The relay does not answer. Trying again.' };
  }
}

/** Throws where it is something else. */
function readRooms(answer: any): { rooms: OpenRoom[]; leftOut: number } {
  const rooms = answer.rooms.map((room: any) => ({
    name: String(room.name),
    talkers: Number(room.talkers),
    onlyListening: Number(room.only_listening),
  }));
  return { rooms, leftOut: Number(answer.left_out) };
}
