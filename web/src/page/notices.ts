// What has just happened: said aloud by screen readers, shown for a while, then gone.

import { element } from './dom.ts';

/** As long as the terminal shows them. */
const NOTICE_MS = 12_000;
/** More at once would hide the call. */
const MOST_NOTICES = 4;

/** A list that lies above the page's lower edge, so that nothing moves when it changes. */
export class Notices {
  readonly element = element('div', {
    class: 'notices',
    role: 'log',
    'aria-live': 'polite',
    'aria-label': 'Events',
  });

  add(text: string): void {
    const line = element('p', { dir: 'auto' }, text);
    this.element.append(line);
    while (this.element.childElementCount > MOST_NOTICES) this.element.firstElementChild?.remove();
    setTimeout(() => line.remove(), NOTICE_MS);
  }
}
