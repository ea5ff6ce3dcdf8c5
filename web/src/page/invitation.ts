// Nobody talks here: says so, and shows the link to send to others.

import { button } from './controls.ts';
import { copyButton, linkField } from './copying.ts';
import { element, setText, withFlags } from './dom.ts';
import type { Link } from './link.ts';
import { ONLY_HERE } from './words.ts';

/** A card in the place of the people. */
export class Invitation {
  readonly element: HTMLElement;
  readonly #title = element('h2');

  constructor(link: Link) {
    const address = linkField(link.shareUrl);
    const buttons = element('div', { class: 'buttons' }, copyButton(link.shareUrl, 'main'));
    const asShared = { title: `streamcodec: ${link.room}`, url: link.shareUrl };
    if (navigator.canShare?.(asShared)) {
      buttons.append(
        button('Share', 'plain', () => void navigator.share(asShared).catch(() => undefined)),
      );
    }
    this.element = element(
      'section',
      { class: 'invitation card', hidden: true },
      this.#title,
      element('label', { for: address.id }, 'Send this link to invite others:'),
      element('div', { class: 'address' }, address, buttons),
    );
    const hint = hintOf(link);
    if (hint !== '') this.element.append(element('p', { class: 'hint' }, ...withFlags(hint)));
  }

  show(shown: boolean, alone: boolean): void {
    this.element.hidden = !shown;
    setText(this.#title, alone ? 'Nobody else is here yet' : 'The others only listen');
  }
}

function hintOf(link: Link): string {
  if (link.onlyHere) {
    return `It ${ONLY_HERE}`;
  }
  return link.token === '' ? '' : 'It contains no token: each person needs one of their own.';
}
