// The field with the name of the room that one is about to join.

import { element, freshId, setText } from './dom.ts';
import { roomOf } from './link.ts';

/** Tells of a name only where the relay would take it; what is wrong with others it says itself. */
export class RoomField {
  readonly element: HTMLElement;
  readonly #input: HTMLInputElement;
  readonly #trouble = element('p', { class: 'trouble', role: 'alert', id: freshId() });
  readonly #changed: (room: string) => void;
  #room: string;

  constructor(room: string, changed: (room: string) => void) {
    this.#room = room;
    this.#changed = changed;
    this.#input = element('input', {
      type: 'text',
      id: freshId(),
      autocomplete: 'off',
      autocapitalize: 'off',
      spellcheck: 'false',
      dir: 'auto',
      'aria-describedby': this.#trouble.id,
    });
    this.#input.value = room;
    // What is wrong is said only when somebody wants to join: a line that comes earlier would move
    // the button away under the mouse.
    this.#input.addEventListener('change', () => void this.#take());
    this.#input.addEventListener('input', () => this.#say('')); // the next check says it again
    this.element = element(
      'div',
      {},
      element('label', { for: this.#input.id }, 'Room'),
      this.#input,
      this.#trouble,
    );
  }

  /** Whether the name in the field can be joined; where it cannot, the field says why. */
  check(): boolean {
    const trouble = this.#take();
    this.#say(trouble);
    return trouble === '';
  }

  /** A name from a list. */
  choose(room: string): void {
    this.#input.value = room;
    this.check();
  }

  /** Ready for another name to be typed. */
  focus(): void {
    this.#input.focus();
    this.#input.select();
  }

  /** Calls back for Enter, where it does not end the input of a word. */
  onEnter(pressed: () => void): void {
    this.#input.addEventListener('keydown', event => {
      if (event.key === 'Enter' && !event.isComposing) pressed();
    });
  }

  /** Answers what is wrong; empty where nothing is, and the room is the one of the field now. */
  #take(): string {
    const { room, trouble } = roomOf(this.#input.value);
    if (trouble === '') {
      this.#input.value = room;
      if (room !== this.#room) this.#changed((this.#room = room));
    }
    return trouble;
  }

  #say(trouble: string): void {
    setText(this.#trouble, trouble);
    this.#input.setAttribute('aria-invalid', String(trouble !== ''));
  }
}
