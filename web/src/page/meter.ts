// A level meter with a mark where the peak is.

import type { Level } from '../messages.ts';
import { element } from './dom.ts';
import { shareOf } from './words.ts';

const STEPS = 60; // of 1 dB

/**
 * The scale lies still; a lid in the colour of the page slides over what is not reached. Both parts
 * move by `transform` alone, so that a change costs no layout; one that is hardly seen is left out,
 * because each picture that a computer without a GPU draws costs milliseconds.
 */
export class Meter {
  /** Hidden from screen readers: a level that changes all the time says nothing aloud. */
  readonly element: HTMLElement;
  readonly #lid = element('div', { class: 'meter-lid' });
  readonly #peak = element('div', { class: 'meter-peak' });
  readonly #shown = { filled: Number.NaN, peak: Number.NaN };

  constructor() {
    this.element = element('div', { class: 'meter', 'aria-hidden': 'true' }, this.#lid, this.#peak);
    this.show(null);
  }

  /** null: nothing is heard. */
  show(level: Level | null): void {
    const filled = level === null ? 0 : inSteps(shareOf(level.rmsDb));
    const peak = level === null ? 0 : inSteps(shareOf(level.peakDb));
    if (filled !== this.#shown.filled) {
      this.#lid.style.transform = `scaleX(${(1 - filled).toFixed(3)})`;
      this.#shown.filled = filled;
    }
    if (peak !== this.#shown.peak) {
      this.#peak.style.transform = `translateX(${((peak - 1) * 100).toFixed(1)}%)`;
      this.#shown.peak = peak;
    }
  }
}

function inSteps(share: number): number {
  return Math.round(share * STEPS) / STEPS;
}
