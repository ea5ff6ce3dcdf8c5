// The rooms that this browser was in: their names alone, kept in the browser, never tokens.

import { button } from './controls.ts';
import { element, setText } from './dom.ts';
import { cleanName } from './link.ts';

const KEY = 'streamcodec.rooms';
/** More would hide those that one looks for. */
const MOST_KEPT = 8;

/** The newest first. */
export function recentRooms(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    if (!Array.isArray(kept)) return [];
    return kept.filter(name => typeof name === 'string' && name !== '' && cleanName(name) === name);
  } catch {
    return []; // storage is switched off, or holds something else
  }
}

/** Somebody is in that room now. */
export function rememberRoom(room: string): void {
  save([room, ...recentRooms().filter(name => name !== room)].slice(0, MOST_KEPT));
}

function forgetRoom(room: string): void {
  save(recentRooms().filter(name => name !== room));
}

function save(rooms: string[]): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(rooms));
  } catch {
    // Storage is full or switched off: the list stays as it was.
  }
}

/** Buttons that choose these rooms, each with one that takes it off the list. */
export class RecentRooms {
  readonly element: HTMLElement;
  readonly #title = element('h2', { tabindex: '-1' }, 'Rooms you were in');
  readonly #list = element('ul', { class: 'chips' });
  readonly #choose: (room: string) => void;

  constructor(choose: (room: string) => void) {
    this.#choose = choose;
    this.element = element(
      'section',
      { class: 'recent', 'aria-label': 'Rooms you were in' },
      this.#title,
      this.#list,
      element('p', { class: 'hint' }, 'Only this browser keeps this list.'),
    );
  }

  /** Reads the list again: another tab may have changed it. `chosen`: the room of the field. */
  show(chosen: string): void {
    const rooms = recentRooms();
    this.element.hidden = rooms.length === 0;
    this.#list.replaceChildren(...rooms.map(room => this.#chip(room, chosen)));
  }

  #chip(room: string, chosen: string): HTMLElement {
    const choose = button('', 'chip', () => this.#choose(room));
    const label = choose.querySelector('span')!;
    label.dir = 'auto';
    setText(label, room);
    choose.setAttribute('aria-pressed', String(room === chosen));
    const forget = button('', 'quiet forget', () => this.#forget(room, chosen), 'close');
    forget.setAttribute('aria-label', `Forget ${room}`);
    forget.title = 'Forget this room';
    return element('li', {}, choose, forget);
  }

  /** The focus goes on to the next one: its button is gone. */
  #forget(room: string, chosen: string): void {
    const place = recentRooms().indexOf(room);
    forgetRoom(room);
    this.show(chosen);
    const left = this.#list.querySelectorAll<HTMLElement>('.forget');
    (left[Math.min(place, left.length - 1)] ?? this.#title).focus();
  }
}
