// What keys do.

import { Drawer } from './controls.ts';
import { element } from './dom.ts';

const KEYS: [key: string, does: string][] = [
  ['m', 'mutes your microphone, or unmutes it'],
  ['space', 'while you are muted: hold it down to talk'],
  ['?', 'opens and closes this help'],
  ['Esc', 'closes this help, or the settings'],
  ['Tab', 'moves to the next button or slider'],
];

/** The box that `?` opens. */
export function helpDrawer(): Drawer {
  const list = element('dl', { class: 'keys' });
  for (const [key, does] of KEYS) {
    list.append(element('dt', {}, element('kbd', {}, key)), element('dd', {}, does));
  }
  const off = element('p', { class: 'hint' }, 'You can switch off m, space and ? in Settings.');
  const drawer = new Drawer('Keyboard shortcuts', list, off);
  drawer.element.addEventListener('keydown', event => {
    if (event.key !== '?') return;
    event.stopPropagation(); // or the call would open it again
    drawer.element.close();
  });
  return drawer;
}
