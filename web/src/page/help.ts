// What keys do.

import { Drawer } from './controls.ts';
import { element } from './dom.ts';

const KEYS: [key: string, does: string][] = [
  ['m', 'mutes your microphone, or takes that back'],
  ['space', 'held down while you are muted: you are heard until you let go'],
  ['?', 'shows these keys'],
  ['Esc', 'closes what lies above the page'],
  ['Tab', 'moves between buttons and sliders'],
];

/** The box that `?` opens. */
export function helpDrawer(): Drawer {
  const list = element('dl', { class: 'keys' });
  for (const [key, does] of KEYS) {
    list.append(element('dt', {}, element('kbd', {}, key)), element('dd', {}, does));
  }
  const off = element('p', { class: 'hint' }, 'Settings can switch m, space and ? off.');
  const drawer = new Drawer('Keys', list, off);
  drawer.element.addEventListener('keydown', event => {
    if (event.key !== '?') return;
    event.stopPropagation(); // or the call would open it again
    drawer.element.close();
  });
  return drawer;
}
