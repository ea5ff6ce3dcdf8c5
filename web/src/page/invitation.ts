// Nobody talks here: says so, and shows the link to send to others.

import { button, copyButton } from './controls.ts';
import { element, freshId, setText } from './dom.ts';
import type { Link } from './link.ts';

/** A card in the place of the people. */
export class Invitation {
  readonly element: HTMLElement;
  readonly #title = element('h2');

  constructor(link: Link) {
    const address = element('input', { type: 'text', readonly: true, id: freshId() });
    address.value = link.shareUrl;
    address.addEventListener('focus', () => address.select());
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
    if (hint !== '') this.element.append(element('p', { class: 'hint' }, hint));
  }

  show(shown: boolean, alone: boolean): void {
    this.element.hidden = !shown;
    setText(this.#title, alone ? 'Nobody else is here' : 'Nobody else talks here');
  }
}

function hintOf(link: Link): string {
  if (link.onlyHere) {
    return 'It works on this computer only: others need its name in the network, and https.';
  }
  return link.token === '' ? '' : 'It holds no token: each of them needs one of their own.';
}
