// What one sees during a call.

import type { CallState } from '../messages.ts';
import { button, Toggle, VolumeSlider } from './controls.ts';
import { copyButton } from './copying.ts';
import { element, setState, setText } from './dom.ts';
import { Invitation } from './invitation.ts';
import type { Link } from './link.ts';
import { MyRow } from './myself.ts';
import { Notices } from './notices.ts';
import { PersonRow, type PersonRequests } from './person.ts';
import {
  clockOf,
  connectionOf,
  listeningOf,
  LOADING,
  megabytesOf,
  SLOW_UNDERRUNS,
} from './words.ts';

/** What the view asks of the call. */
export interface ViewRequests extends PersonRequests {
  everybodysVolume: (decibels: number) => void;
  toggleMute: () => void;
  /** null: a microphone cannot be had, or is there already. */
  talk: (() => void) | null;
  openSettings: () => void;
  openHelp: () => void;
  leave: () => void;
  /** null: the link is for this room alone. */
  changeRoom: (() => void) | null;
  headphonesRead: () => void;
}

/** `show` is called five times a second, and changes only what differs. */
export class CallView {
  readonly element: HTMLElement;
  readonly notices = new Notices();
  readonly #requests: ViewRequests;
  readonly #room: HTMLElement;
  readonly #connection = element('span', { role: 'status' }, 'Starting');
  readonly #roundTrip = element('span', { class: 'figure' });
  readonly #clock = element('span', { class: 'figure' });
  readonly #line = element('p', { class: 'connection' });
  readonly #stopped = element('div', { class: 'banner', role: 'alert', hidden: true });
  readonly #slow = element('p', { class: 'banner', role: 'alert', hidden: true });
  readonly #loading = element('section', { class: 'loading card' });
  readonly #loadingText = element('p', {}, LOADING);
  readonly #progress = element('progress', { 'aria-label': LOADING });
  readonly #people = element('section', { 'aria-labelledby': 'people', hidden: true });
  readonly #count = element('h2', { id: 'people' }, 'Talkers');
  readonly #list = element('ul', { class: 'people' });
  readonly #listeners = element('p', { class: 'listeners', dir: 'auto' });
  readonly #rows = new Map<number, PersonRow>();
  readonly #me: MyRow;
  readonly #mute: Toggle;
  readonly #invitation: Invitation;
  #muted = false;
  #connectedSince: number | null = null;

  constructor(link: Link, talks: boolean, headphones: boolean, requests: ViewRequests) {
    this.#requests = requests;
    this.#room = element('h1', { tabindex: '-1', dir: 'auto' }, link.room);
    this.#invitation = new Invitation(link);
    this.#me = new MyRow(talks, requests.talk);
    this.#mute = new Toggle(
      { off: 'Mute', on: 'Unmute' },
      'plain mute',
      { off: 'microphone', on: 'muted' },
      requests.toggleMute,
    );
    this.#mute.element.setAttribute('aria-keyshortcuts', 'm');
    this.#line.append(
      element(
        'span',
        { class: 'link' },
        element('span', { class: 'dot', 'aria-hidden': 'true' }),
        this.#connection,
      ),
      this.#roundTrip,
      this.#clock,
    );
    this.#stopped.append(
      element('span', {}, 'The browser has paused the sound.'),
      button('Play sound', 'main', () => undefined, 'sound'), // any press makes the sound go on
    );
    this.#loading.append(this.#loadingText, this.#progress);
    this.#people.append(
      element(
        'header',
        { class: 'people-head' },
        this.#count,
        element(
          'div',
          { class: 'everybody' },
          element('span', { 'aria-hidden': 'true' }, 'Everybody'),
          new VolumeSlider('Volume of everybody', 0, requests.everybodysVolume).element,
        ),
      ),
      this.#list,
    );
    this.element = element(
      'div',
      { class: 'call' },
      element(
        'main',
        {},
        this.#head(),
        this.#stopped,
        this.#slow,
        ...(talks && headphones ? [this.#headphones()] : []),
        this.#loading,
        this.#me.element,
        this.#people,
        this.#invitation.element,
        this.#listeners,
      ),
      element(
        'footer',
        { class: 'bar' },
        this.notices.element,
        element(
          'div',
          { class: 'bar-buttons' },
          ...(talks ? [this.#mute.element] : []),
          copyButton(link.shareUrl, 'quiet'),
          button('Settings', 'quiet', requests.openSettings, 'settings'),
          button('Keys', 'quiet keys-button', requests.openHelp, 'help'),
          button('Leave', 'leave', requests.leave, 'leave'),
        ),
      ),
    );
  }

  focus(): void {
    this.#room.focus();
  }

  set muted(muted: boolean) {
    this.#muted = muted;
    this.#mute.on = muted;
  }

  /** The browser lets nothing sound until the user touches the page. */
  set stopped(stopped: boolean) {
    this.#stopped.hidden = !stopped;
  }

  loading(bytes: number, of: number): void {
    if (of <= 0) return;
    this.#progress.max = of;
    this.#progress.value = Math.min(bytes, of);
    setText(this.#loadingText, `${LOADING}: ${megabytesOf(bytes)} of ${megabytesOf(of)} MB`);
  }

  show(state: CallState, now: number): void {
    const connected = state.connection === 'connected';
    if (connected) this.#connectedSince ??= now;
    setText(this.#connection, connectionOf(state));
    setState(this.#line, state.connection);
    const known = connected && state.roundTripMs !== null;
    setText(this.#roundTrip, known ? `round trip ${state.roundTripMs!.toFixed(0)} ms` : '');
    const since = this.#connectedSince;
    setText(this.#clock, since === null ? '' : clockOf((now - since) / 1000));
    this.#loading.hidden = state.connection !== 'loading';

    const slow = state.underruns > SLOW_UNDERRUNS;
    this.#slow.hidden = !slow;
    setText(
      this.#slow,
      slow ? 'The sound stutters: this computer is too slow. Please close other programs.' : '',
    );
    this.#me.show(state.me, this.#muted, connected);
    this.#showPeople(state);
    setText(this.#listeners, connected ? listeningOf(state) : '');
    this.#invitation.show(connected && state.people.length === 0, state.listeners === 0);
  }

  #showPeople(state: CallState): void {
    const { people } = state;
    this.#people.hidden = people.length === 0;
    setText(this.#count, people.length === 1 ? '1 talker' : `${people.length} talkers`);
    const there = new Set(people.map(person => person.stream));
    for (const [stream, row] of this.#rows) {
      if (there.has(stream)) continue;
      row.element.remove();
      this.#rows.delete(stream);
    }
    people.forEach((person, place) => {
      let row = this.#rows.get(person.stream);
      if (row !== undefined && row.name !== person.name) {
        row.element.remove(); // the relay has given the number to somebody else
        row = undefined;
      }
      if (row === undefined) {
        row = new PersonRow(person, this.#requests);
        this.#rows.set(person.stream, row);
      } else row.show(person);
      const now = this.#list.children[place];
      if (now !== row.element) this.#list.insertBefore(row.element, now ?? null);
    });
  }

  #head(): HTMLElement {
    const { changeRoom } = this.#requests;
    const head = element('header', { class: 'call-head' }, this.#room, this.#line);
    if (changeRoom !== null) head.append(button('Change room', 'quiet', changeRoom));
    return head;
  }

  #headphones(): HTMLElement {
    const line = element(
      'p',
      { class: 'tip' },
      element('span', {}, 'Use headphones, so that nobody hears an echo.'),
      button('Got it', 'quiet', () => {
        line.remove();
        this.#requests.headphonesRead();
      }),
    );
    return line;
  }
}
