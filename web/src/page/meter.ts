// A level meter with a mark where the peak is.

import type { Level } from '../messages.ts';
import { element } from './dom.ts';
import { shareOf } from './words.ts';

/**
 * The scale lies still; a lid in the colour of the page slides over what is not reached. Both parts
 * move by `transform` alone, so that a change ten times a second costs no layout.
 */
export class Meter {
  /** Hidden from screen readers: a level that changes all the time says nothing aloud. */
  readonly element: HTMLElement;
  readonly #lid = element('div', { class: 'meter-lid' });
  readonly #peak = element('div', { class: 'meter-peak' });

  constructor() {
    this.element = element('div', { class: 'meter', 'aria-hidden': 'true' }, this.#lid, this.#peak);
    this.show(null);
  }

  /** null: nothing is heard. */
  show(level: Level | null): void {
    const filled = level === null ? 0 : shareOf(level.rmsDb);
    const peak = level === null ? 0 : shareOf(level.peakDb);
    this.#lid.style.transform = `scaleX(${(1 - filled).toFixed(3)})`;
    this.#peak.style.transform = `translateX(${((peak - 1) * 100).toFixed(1)}%)`;
  }
}
