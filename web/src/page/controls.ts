// The small parts that several views are made of.

import { element, freshId, setText } from './dom.ts';
import { icon, type IconName } from './icons.ts';
import { decibelsOf } from './words.ts';

// As the terminal's client has them, in its steps of 3 dB.
const LEAST_DB = -39;
const MOST_DB = 12;
const STEP_DB = 3;

/** A button with an icon and a word. `kind` is its look. */
export function button(
  text: string,
  kind: string,
  pressed: () => void,
  picture?: IconName,
): HTMLButtonElement {
  const made = element('button', { type: 'button', class: kind });
  if (picture !== undefined) made.append(icon(picture));
  made.append(element('span', {}, text));
  made.addEventListener('click', pressed);
  return made;
}

/** A button that is on or off: its text says what a click does. */
export class Toggle {
  readonly element: HTMLButtonElement;
  readonly #icons: { off: SVGSVGElement; on: SVGSVGElement };
  #on = false;

  constructor(
    private readonly texts: { off: string; on: string },
    kind: string,
    pictures: { off: IconName; on: IconName },
    pressed: () => void,
  ) {
    this.#icons = { off: icon(pictures.off), on: icon(pictures.on) };
    this.element = button(texts.off, kind, pressed);
    this.element.prepend(this.#icons.off);
  }

  get on(): boolean {
    return this.#on;
  }

  set on(on: boolean) {
    if (on === this.#on) return;
    this.#on = on;
    this.element.classList.toggle('on', on);
    setText(this.element.querySelector('span')!, on ? this.texts.on : this.texts.off);
    const [now, before] = on
      ? [this.#icons.on, this.#icons.off]
      : [this.#icons.off, this.#icons.on];
    before.replaceWith(now);
  }
}

/** A slider for a volume in dB, named for screen readers. */
export class VolumeSlider {
  readonly element: HTMLElement;
  readonly #input = element('input', {
    type: 'range',
    min: String(LEAST_DB),
    max: String(MOST_DB),
    step: String(STEP_DB),
  });
  readonly #shown = element('span', { class: 'decibels', 'aria-hidden': 'true' });

  constructor(name: string, decibels: number, changed: (decibels: number) => void) {
    this.#input.value = String(decibels);
    this.#input.setAttribute('aria-label', name);
    this.element = element('div', { class: 'volume' }, icon('sound'), this.#input, this.#shown);
    this.#show();
    this.#input.addEventListener('input', () => {
      this.#show();
      changed(this.#input.valueAsNumber);
    });
  }

  set name(name: string) {
    this.#input.setAttribute('aria-label', name);
  }

  #show(): void {
    const text = decibelsOf(this.#input.valueAsNumber);
    setText(this.#shown, text);
    this.#input.setAttribute('aria-valuetext', text);
  }
}

/** A box with a title that lies above the page until it is closed, by its button or Escape. */
export class Drawer {
  readonly element: HTMLDialogElement;

  constructor(title: string, ...children: Node[]) {
    const titleId = freshId();
    const close = button('Close', 'quiet', () => this.element.close(), 'close');
    this.element = element(
      'dialog',
      { class: 'drawer', 'aria-labelledby': titleId },
      element('header', {}, element('h2', { id: titleId }, title), close),
      ...children,
    );
    // As most browsers do by themselves. In a list that is open, the key closes that one.
    this.element.addEventListener('keydown', event => {
      if (event.key === 'Escape' && !(event.target instanceof HTMLSelectElement)) {
        this.element.close();
      }
    });
    // A click beside the box reaches the dialog itself, one inside reaches what lies in it.
    this.element.addEventListener('click', event => {
      if (event.target === this.element && this.#isOutside(event)) this.element.close();
    });
  }

  toggle(): void {
    if (this.element.open) this.element.close();
    else this.element.showModal();
  }

  #isOutside(event: MouseEvent): boolean {
    const box = this.element.getBoundingClientRect();
    return (
      event.clientX < box.left ||
      event.clientX > box.right ||
      event.clientY < box.top ||
      event.clientY > box.bottom
    );
  }
}
