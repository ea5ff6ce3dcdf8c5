// What one sees first: which room it is, who one is, and the way in.

import { button } from './controls.ts';
import { element, freshId, setText, withFlags } from './dom.ts';
import { type Link, cleanName, MOST_CHARACTERS } from './link.ts';
import { OpenRooms } from './open-rooms.ts';
import { RecentRooms } from './recent-rooms.ts';
import { RoomField } from './room-field.ts';
import { RoomWatch } from './room-watch.ts';
import { whyNoMicrophone, whyNoSound } from './support.ts';
import { ONLY_HERE } from './words.ts';

/** What the first view asks of the page. */
export interface FirstRequests {
  join: (talks: boolean) => void;
  nameChanged: (name: string) => void;
  /** Another room is to be joined -> the link to it. */
  roomChanged: (room: string) => Link;
  openSettings: () => void;
}

/** The way in. It stays as it is while somebody is in a call, and is shown again afterwards. */
export class FirstView {
  readonly element: HTMLElement;
  readonly #title: HTMLElement;
  /** Read aloud when it changes: why one is here again, or what is missing. */
  readonly #said = element('p', { class: 'said', role: 'alert', hidden: true });
  /** Read aloud, and not shown: which room was chosen from a list. */
  readonly #chosen = element('p', { class: 'unseen', role: 'status' });
  /** What cannot work here, whatever one does: said while there is nothing else to say. */
  readonly #lasting: string;
  readonly #buttons: HTMLButtonElement[];
  readonly #name: HTMLInputElement;
  /** null: the link is for listening in one room, or nothing can be heard here. */
  readonly #room: RoomField | null;
  readonly #recent: RecentRooms;
  readonly #open: OpenRooms;
  readonly #watch: RoomWatch | null;
  readonly #requests: FirstRequests;
  #link: Link;

  /** `roomsPath`: where to ask which rooms are open; empty where the relay does not say. */
  constructor(link: Link, name: string, roomsPath: string, requests: FirstRequests) {
    this.#link = link;
    this.#requests = requests;
    const noSound = whyNoSound();
    const noMicrophone = whyNoMicrophone();
    const choosesRoom = !link.onlyListens && noSound === '';
    const title = choosesRoom ? 'Join a room' : link.room;
    this.#title = element('h1', { tabindex: '-1', dir: 'auto' }, title);
    this.#name = element('input', {
      type: 'text',
      id: freshId(),
      maxlength: String(MOST_CHARACTERS),
      autocomplete: 'nickname',
      spellcheck: 'false',
      placeholder: 'Guest',
      dir: 'auto',
    });
    this.#name.value = name;
    this.#name.addEventListener('change', () => requests.nameChanged(cleanName(this.#name.value)));
    const listen = button('Listen', 'main', () => this.#join(false), 'sound');
    const talk = button('Listen and talk', 'plain', () => this.#join(true), 'microphone');
    talk.disabled = noMicrophone !== '';
    this.#buttons = link.onlyListens ? [listen] : [listen, talk];

    const choose = (room: string) => {
      this.#room?.choose(room);
      setText(this.#chosen, `Room ${room}`);
      listen.focus(); // what one does next
      this.#room?.element.scrollIntoView({ block: 'nearest' }); // it is above a long list
    };
    this.#room = choosesRoom ? new RoomField(link.room, room => this.#roomChanged(room)) : null;
    this.#recent = new RecentRooms(choose);
    this.#open = new OpenRooms(choose);
    const shows = choosesRoom && roomsPath !== '';
    this.#watch = shows
      ? new RoomWatch(
          roomsPath,
          () => this.#link.token,
          known => this.#open.show(known),
        )
      : null;

    // Enter in a field listens: that needs no permission, and nobody hears one.
    this.#room?.onEnter(() => listen.click());
    this.#name.addEventListener('keydown', event => {
      if (event.key === 'Enter' && !event.isComposing) listen.click();
    });
    const form = element(
      'div',
      { class: 'way-in' },
      ...(this.#room === null ? [] : [this.#room.element, this.#recent.element]),
      element('label', { for: this.#name.id }, 'Your name'),
      this.#name,
      element('div', { class: 'buttons' }, ...this.#buttons),
    );
    this.#lasting = noSound || (link.onlyListens ? '' : noMicrophone);
    this.say('');
    this.element = element(
      'main',
      { class: 'first' },
      element(
        'div',
        { class: 'card' },
        ...(choosesRoom ? [] : [element('p', { class: 'overline' }, 'Room')]),
        this.#title,
        element('p', { class: 'lead' }, leadOf(link)),
        this.#said,
        ...(noSound === '' ? [form] : []),
      ),
      this.#open.element,
      this.#chosen,
      this.#beneath(noSound === ''),
    );
  }

  /** Says something above the buttons; an empty text takes it away. */
  say(text: string): void {
    const shown = text || this.#lasting;
    this.#said.hidden = shown === '';
    setText(this.#said, shown);
  }

  /** While the browser asks for the microphone, nothing else is to be pressed. */
  set waits(waits: boolean) {
    for (const one of this.#buttons) one.setAttribute('aria-disabled', String(waits));
  }

  /** Whether it is what one sees. */
  set shown(shown: boolean) {
    if (shown) {
      this.#showRoom();
      this.#watch?.start();
    } else {
      this.#watch?.stop();
      this.#open.clear();
    }
  }

  focus(): void {
    this.#title.focus();
  }

  /** Ready for another room. */
  focusRoom(): void {
    this.#room?.focus();
  }

  #join(talks: boolean): void {
    if (this.#room !== null && !this.#room.check()) {
      this.#room.focus();
      return;
    }
    this.#requests.nameChanged(cleanName(this.#name.value));
    this.#requests.join(talks);
  }

  #roomChanged(room: string): void {
    this.#link = this.#requests.roomChanged(room);
    this.#showRoom();
  }

  #showRoom(): void {
    this.#recent.show(this.#link.room);
    this.#open.chosen = this.#link.room;
  }

  #beneath(sounds: boolean): HTMLElement {
    const { hostname } = location;
    const lines = [`Not end-to-end encrypted: whoever runs ${hostname} could listen in.`];
    if (this.#link.onlyHere && !this.#link.onlyListens) lines.push(`This link ${ONLY_HERE}`);
    return element(
      'div',
      { class: 'beneath' },
      ...lines.map(line => element('p', {}, ...withFlags(line))),
      ...(sounds ? [button('Settings', 'quiet', this.#requests.openSettings, 'settings')] : []),
    );
  }
}

function leadOf(link: Link): string {
  return link.onlyListens
    ? 'Listen live. Nobody hears you.'
    : 'Live voice: listen, or talk as well.';
}
