// The row of oneself: what the others hear of the microphone.

import type { Me } from '../messages.ts';
import { button } from './controls.ts';
import { element, setState, setText } from './dom.ts';
import { Meter } from './meter.ts';
import { initialOf } from './person.ts';
import { SILENT_AFTER_S } from './words.ts';

/** Shows a microphone, or that there is none and the way to one. */
export class MyRow {
  readonly element: HTMLElement;
  readonly #initial = element('div', { class: 'initial', 'aria-hidden': 'true' });
  readonly #name = element('span', { class: 'name', dir: 'auto' });
  readonly #doing = element('span', { class: 'doing' });
  readonly #rate = element('span', { class: 'delay' });
  readonly #hint = element('span');
  readonly #meter = new Meter();

  constructor(talks: boolean, talk: (() => void) | null) {
    this.element = element(
      'section',
      { class: `person card me${talks ? '' : ' listens'}`, 'aria-label': 'You' },
      this.#initial,
      element('div', { class: 'who' }, this.#name, this.#doing),
    );
    const how = element('div', { class: 'how' }, this.#hint, this.#rate);
    if (talks) this.element.append(this.#meter.element, how);
    else if (talk !== null) {
      const choices = element('div', { class: 'choices' });
      choices.append(button('Talk as well', 'plain', talk, 'microphone'));
      this.element.append(choices);
    }
  }

  /** `muted` is the button's: it is ahead of what the worker says. */
  show(me: Me, muted: boolean, connected: boolean): void {
    const name = me.name || 'unnamed';
    setText(this.#name, `${name} (you)`);
    setText(this.#initial, initialOf(name));
    if (!me.talks) {
      setText(this.#doing, 'listening');
      return;
    }
    const [state, doing, hint] = this.#stateOf(me, muted, connected);
    setState(this.element, state);
    setText(this.#doing, doing);
    setText(this.#hint, hint);
    setText(this.#rate, muted || hint !== '' ? '' : `${(me.bitrateBps / 1000).toFixed(1)} kbit/s`);
    this.#meter.show(me.level);
  }

  #stateOf(
    me: Me,
    muted: boolean,
    connected: boolean,
  ): [state: string, doing: string, hint: string] {
    if (me.silenced)
      return ['trouble', 'silenced', 'A moderator has silenced you: nobody hears you.'];
    if (muted) return ['muted', 'muted', ''];
    if (!connected) return ['muted', 'not connected', 'Nobody hears you now.'];
    if (!me.captures) return ['trouble', 'no sound', 'No microphone works: see Settings.'];
    if (me.level.clipping)
      return ['trouble', 'clipping', 'Too loud: move away from the microphone.'];
    if (me.level.silentS > SILENT_AFTER_S)
      return ['trouble', 'silent', 'Nothing is heard: is it the right microphone? See Settings.'];
    return ['on air', 'on air', ''];
  }
}
