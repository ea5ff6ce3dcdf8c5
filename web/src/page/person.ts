// The row of one talker.

import type { Person } from '../messages.ts';
import { Toggle, VolumeSlider } from './controls.ts';
import { element, setState, setText } from './dom.ts';
import { Meter } from './meter.ts';
import { doingOf, qualityOf } from './words.ts';

/** What a row asks of the call. */
export interface PersonRequests {
  volume: (stream: number, decibels: number) => void;
  hear: (stream: number, heard: boolean) => void;
}

/**
 * Volume and the toggle are the user's, and shown as they were set here: the worker's answer comes
 * some time later, and would pull a slider back while it is dragged.
 */
export class PersonRow {
  readonly element: HTMLElement;
  /** Whose row it is. */
  readonly name: string;
  readonly #initial = element('div', { class: 'initial', 'aria-hidden': 'true' });
  readonly #name = element('span', { class: 'name', dir: 'auto' });
  readonly #doing = element('span', { class: 'doing' });
  readonly #quality = element('span', { class: 'grade' });
  readonly #delay = element('span', { class: 'delay' });
  readonly #meter = new Meter();
  readonly #slider: VolumeSlider;
  readonly #unheard: Toggle;

  constructor(person: Person, requests: PersonRequests) {
    const { stream } = person;
    this.name = person.name;
    this.#slider = new VolumeSlider('', person.volumeDb, decibels =>
      requests.volume(stream, decibels),
    );
    this.#unheard = new Toggle(
      { off: 'Mute for me', on: 'Hear again' },
      'quiet',
      { off: 'unheard', on: 'unheard' },
      () => {
        this.#unheard.on = !this.#unheard.on;
        requests.hear(stream, !this.#unheard.on);
      },
    );
    this.#unheard.on = !person.heard;
    this.element = element(
      'li',
      { class: 'person card' },
      this.#initial,
      element('div', { class: 'who' }, this.#name, this.#doing),
      this.#meter.element,
      element('div', { class: 'how' }, this.#quality, this.#delay),
      element('div', { class: 'choices' }, this.#slider.element, this.#unheard.element),
    );
    this.show(person);
  }

  show(person: Person): void {
    const heard = !this.#unheard.on;
    const name = person.name || 'unnamed';
    if (this.#name.textContent !== name) {
      setText(this.#name, name);
      setText(this.#initial, initialOf(name));
      this.#slider.name = `Volume of ${name}`;
      this.#unheard.element.setAttribute('aria-description', name);
    }
    const doing = doingOf(person, heard);
    setText(this.#doing, doing);
    setState(this.element, doing);
    const quality = qualityOf(person);
    const unheard = person.unheard !== '';
    setText(this.#quality, unheard ? `Cannot be heard: ${person.unheard}` : quality.text);
    setState(this.#quality, unheard ? 'poor' : quality.grade);
    const delay = person.delayMs === null || unheard ? '' : `${person.delayMs.toFixed(0)} ms`;
    setText(this.#delay, delay);
    this.#meter.show(heard ? person.level : null);
  }
}

/** The first character of a name, for the disc beside it. */
export function initialOf(name: string): string {
  return ([...name][0] ?? '?').toUpperCase();
}
