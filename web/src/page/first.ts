// What one sees first: which room it is, who one is, and the way in.

import { button } from './controls.ts';
import { element, freshId, setText } from './dom.ts';
import { type Link, cleanName, MOST_CHARACTERS } from './link.ts';
import { whyNoMicrophone, whyNoSound } from './support.ts';

/** What the first view asks of the page. */
export interface FirstRequests {
  join: (talks: boolean) => void;
  nameChanged: (name: string) => void;
  openSettings: () => void;
}

/** The way in. It stays as it is while somebody is in a call, and is shown again afterwards. */
export class FirstView {
  readonly element: HTMLElement;
  readonly #title: HTMLElement;
  /** Read aloud when it changes: why one is here again, or what is missing. */
  readonly #said = element('p', { class: 'said', role: 'alert', hidden: true });
  /** What cannot work here, whatever one does: said while there is nothing else to say. */
  readonly #lasting: string;
  readonly #buttons: HTMLButtonElement[];
  readonly #name: HTMLInputElement;

  constructor(link: Link, name: string, requests: FirstRequests) {
    const noSound = whyNoSound();
    const noMicrophone = whyNoMicrophone();
    this.#title = element('h1', { tabindex: '-1', dir: 'auto' }, link.room);
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
    const join = (talks: boolean) => {
      requests.nameChanged(cleanName(this.#name.value));
      requests.join(talks);
    };
    const listen = button('Listen', 'main', () => join(false), 'sound');
    const talk = button('Listen and talk', 'plain', () => join(true), 'microphone');
    talk.disabled = noMicrophone !== '';
    this.#buttons = link.onlyListens ? [listen] : [listen, talk];

    // Enter in the name field listens: that needs no permission, and nobody hears one.
    this.#name.addEventListener('keydown', event => {
      if (event.key === 'Enter' && !event.isComposing) listen.click();
    });
    const form = element(
      'div',
      { class: 'way-in' },
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
        element('p', { class: 'overline' }, 'Room'),
        this.#title,
        element('p', { class: 'lead' }, leadOf(link)),
        this.#said,
        ...(noSound === '' ? [form] : []),
      ),
      element(
        'div',
        { class: 'beneath' },
        element('p', {}, `Not encrypted end to end: who runs ${location.hostname} could listen.`),
        ...(noSound === '' ? [button('Settings', 'quiet', requests.openSettings, 'settings')] : []),
      ),
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

  focus(): void {
    this.#title.focus();
  }
}

function leadOf(link: Link): string {
  return link.onlyListens ? 'Listen live. Nobody hears you.' : 'Live voice. Listen, or talk along.';
}
