// One call: the worker that holds it, the sound, and what is shown of it.

import type { CallState, Event as WorkerEvent, Request } from '../messages.ts';
import { watchKeys } from './keys.ts';
import type { Link } from './link.ts';
import type { Settings } from './settings.ts';
import type { Sound } from './sound.ts';
import { CallView } from './view.ts';

/** So long the worker has to take leave of the relay. */
const GOODBYE_MS = 1000;
/** How often the worker is told what the loudspeaker takes. */
const LATENCY_MS = 1000;

/** What a call asks of the page. */
export interface CallRequests {
  /** null: a microphone cannot be had. */
  talk: (() => void) | null;
  openSettings: () => void;
  openHelp: () => void;
  settingsChanged: () => void;
  /** The user goes on to another room: called when this one is left. null: there is only this. */
  changeRoom: (() => void) | null;
  /** The relay has let us into this room. */
  entered: (room: string) => void;
  /** It is over; an empty reason: the user has left. */
  ended: (reason: string) => void;
}

/** Begins when it is made, and ends with `leave`, or when the worker says so. */
export class Call {
  readonly view: CallView;
  readonly talks: boolean;
  readonly #sound: Sound;
  readonly #requests: CallRequests;
  readonly #over = new AbortController();
  readonly #room: string;
  readonly #worker: Worker;
  #latencyTimer = 0;
  #muted = false;
  #pushes = false;
  #state: CallState | null = null;
  #drawn = 0;
  #entered = false;

  constructor(
    link: Link,
    settings: Settings,
    talks: boolean,
    worker: Worker,
    sound: Sound,
    requests: CallRequests,
  ) {
    this.talks = talks;
    this.#room = link.room;
    this.#worker = worker;
    this.#sound = sound;
    this.#requests = requests;
    const { changeRoom } = requests;
    const toggleMute = () => this.#mute(!this.#muted);
    this.view = new CallView(link, talks, !settings.headphonesRead, {
      talk: talks ? null : requests.talk,
      openSettings: requests.openSettings,
      openHelp: requests.openHelp,
      toggleMute,
      leave: () => this.leave(),
      changeRoom:
        changeRoom === null
          ? null
          : () => {
              this.leave();
              changeRoom();
            },
      volume: (stream, decibels) => this.#send({ type: 'volume', stream, decibels }),
      everybodysVolume: decibels => this.#send({ type: 'volume', stream: null, decibels }),
      hear: (stream, heard) => this.#send({ type: 'hear', stream, heard }),
      headphonesRead: () => {
        settings.headphonesRead = true;
        requests.settingsChanged();
      },
    });
    watchKeys(
      {
        listens: () => settings.shortcuts,
        toggleMute,
        pushToTalk: held => this.#pushToTalk(held),
        help: requests.openHelp,
      },
      this.#over.signal,
    );
    this.#listen();
    this.#send({
      type: 'open',
      settings: {
        relayUrl: link.relayUrl,
        room: link.room,
        name: settings.name || 'Guest',
        talks,
        token: link.token,
        bitrateBps: settings.bitrateBps,
      },
    });
    void this.#connectSound();
  }

  say(text: string): void {
    this.view.notices.add(text);
  }

  leave(): void {
    this.#send({ type: 'leave' });
    this.#end('');
  }

  #listen(): void {
    const { signal } = this.#over;
    const take = ({ data }: MessageEvent<WorkerEvent>) => this.#take(data);
    this.#worker.addEventListener('message', take, { signal });
    this.#worker.addEventListener(
      'error',
      event => this.#end(`The page had to stop: ${event.message || 'a part is missing'}.`),
      { signal },
    );
  }

  async #connectSound(): Promise<void> {
    try {
      const output = await this.#sound.startOutput();
      if (this.#over.signal.aborted) return;
      this.#send({ type: 'output', link: output }, [output.port]);
      const tell = () => this.#send({ type: 'latency', latencyMs: this.#sound.latencyMs });
      tell();
      this.#latencyTimer = window.setInterval(tell, LATENCY_MS);
      if (!this.talks) return;
      await this.#sound.startInput((request, transferred) => this.#send(request, transferred));
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.#end(`The browser could not start the sound: ${text}.`);
    }
  }

  #send(request: Request, transferred: Transferable[] = []): void {
    this.#worker.postMessage(request, transferred);
  }

  #take(event: WorkerEvent): void {
    if (this.#over.signal.aborted) return;
    if (event.type === 'loading') this.view.loading(event.bytes, event.of);
    else if (event.type === 'notice') this.say(event.text);
    else if (event.type === 'ended') this.#end(event.reason || 'The call is over.');
    else {
      this.#state = event.state;
      if (event.state.connection === 'connected' && !this.#entered) {
        this.#entered = true;
        this.#requests.entered(this.#room);
      }
      // Not drawn while nobody looks; the newest state is, then.
      this.#drawn ||= requestAnimationFrame(() => this.#draw());
    }
  }

  #draw(): void {
    this.#drawn = 0;
    if (this.#state === null || this.#over.signal.aborted) return;
    this.view.show(this.#state, performance.now());
    this.#entitle();
  }

  #mute(muted: boolean): void {
    if (!this.talks) return;
    this.#muted = muted;
    this.#pushes = false;
    this.#tellMuted();
  }

  /** Answers whether the space bar means anything now. */
  #pushToTalk(held: boolean): boolean {
    if (!this.talks || !this.#muted) return false;
    this.#pushes = held;
    this.#tellMuted();
    return true;
  }

  #tellMuted(): void {
    const muted = this.#muted && !this.#pushes;
    this.view.muted = muted;
    this.#send({ type: 'mute', muted });
    this.#entitle();
  }

  #entitle(): void {
    const title = `${this.#muted && !this.#pushes ? 'Muted: ' : ''}${this.#room} – streamcodec`;
    if (document.title !== title) document.title = title;
  }

  #end(reason: string): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort();
    cancelAnimationFrame(this.#drawn);
    this.#sound.close();
    clearInterval(this.#latencyTimer);
    // Not at once: the others are to see that one has left.
    setTimeout(() => this.#worker.terminate(), GOODBYE_MS);
    this.#requests.ended(reason);
  }
}
