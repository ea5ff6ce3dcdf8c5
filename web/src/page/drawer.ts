// The settings: devices, what the browser does to the microphone's sound, and the bit rate.

import { Drawer } from './controls.ts';
import { type Device, type Devices, listDevices } from './devices.ts';
import { element, freshId, setText } from './dom.ts';
import type { Settings } from './settings.ts';
import { choosesLoudspeaker } from './support.ts';

/** What changed, so that a call need not begin anew where it can go on. */
export type Changed = 'microphone' | 'loudspeaker' | 'other';

const RATES: [bps: number, text: string][] = [
  [3000, '3 kbit/s, for very slow connections'],
  [6000, '6 kbit/s, for most connections'],
  [9000, '9 kbit/s, the clearest voice'],
];

/** Changes `settings` itself, and tells what it changed. */
export class SettingsDrawer {
  readonly drawer: Drawer;
  readonly #settings: Settings;
  readonly #changed: (what: Changed) => void;
  readonly #microphones = element('select', { id: freshId() });
  readonly #loudspeakers = element('select', { id: freshId() });
  readonly #unnamed = element('p', { class: 'hint' });
  #devices: Devices = { microphones: [], loudspeakers: [] };

  constructor(settings: Settings, changed: (what: Changed) => void) {
    this.#settings = settings;
    this.#changed = changed;
    this.drawer = new Drawer(
      'Settings',
      field('Microphone', this.#microphones),
      choosesLoudspeaker()
        ? field('Loudspeaker', this.#loudspeakers)
        : element(
            'p',
            { class: 'hint' },
            'This browser does not let the page choose a loudspeaker. The system’s settings do.',
          ),
      this.#unnamed,
      element(
        'fieldset',
        {},
        element('legend', {}, 'Sound of the microphone'),
        this.#check(
          'Cancel echo',
          'echoCancellation',
          'so that others do not hear themselves through your loudspeaker',
        ),
        this.#check('Reduce noise', 'noiseSuppression', 'fans, traffic, typing'),
        this.#check(
          'Adjust loudness',
          'autoGainControl',
          'so that you are as loud far from the microphone as near it',
        ),
      ),
      this.#rate(),
      element(
        'fieldset',
        {},
        element('legend', {}, 'Keyboard'),
        this.#check(
          'Keyboard shortcuts',
          'shortcuts',
          'm mutes, space lets you talk while muted, ? shows help',
        ),
      ),
    );
    this.#microphones.addEventListener('change', () => {
      settings.microphone = chosenOf(
        this.#microphones,
        this.#devices.microphones,
        settings.microphone,
      );
      changed('microphone');
    });
    this.#loudspeakers.addEventListener('change', () => {
      settings.loudspeaker = chosenOf(
        this.#loudspeakers,
        this.#devices.loudspeakers,
        settings.loudspeaker,
      );
      changed('loudspeaker');
    });
  }

  open(): void {
    void listDevices().then(devices => this.show(devices));
    this.drawer.toggle();
  }

  /** Which devices there are. A chosen one that is not there stays in the list, marked. */
  show(devices: Devices): void {
    this.#devices = devices;
    fill(this.#microphones, devices.microphones, this.#settings.microphone);
    fill(this.#loudspeakers, devices.loudspeakers, this.#settings.loudspeaker);
    const unnamed = devices.microphones.length + devices.loudspeakers.length === 0;
    this.#unnamed.hidden = !unnamed;
    setText(
      this.#unnamed,
      unnamed ? 'The browser shows devices once you have allowed the microphone.' : '',
    );
  }

  #check(
    text: string,
    key: 'echoCancellation' | 'noiseSuppression' | 'autoGainControl' | 'shortcuts',
    explained: string,
  ): HTMLElement {
    const why = element('p', { class: 'hint', id: freshId() }, explained);
    const box = element('input', { type: 'checkbox', 'aria-describedby': why.id });
    box.checked = this.#settings[key];
    box.addEventListener('change', () => {
      this.#settings[key] = box.checked;
      this.#changed(key === 'shortcuts' ? 'other' : 'microphone');
    });
    return element('div', { class: 'check' }, element('label', {}, box, text), why);
  }

  #rate(): HTMLElement {
    const rates = element('select', { id: freshId() });
    for (const [bps, text] of RATES) rates.append(new Option(text, String(bps)));
    rates.value = String(this.#settings.bitrateBps);
    if (rates.value === '') rates.value = '6000';
    rates.addEventListener('change', () => {
      this.#settings.bitrateBps = Number(rates.value);
      this.#changed('other');
    });
    return field('Data rate of your voice', rates, 'A change counts from the next time you join.');
  }
}

function field(name: string, select: HTMLSelectElement, hint = ''): HTMLElement {
  return element(
    'div',
    { class: 'field' },
    element('label', { for: select.id }, name),
    select,
    ...(hint === '' ? [] : [element('p', { class: 'hint' }, hint)]),
  );
}

function fill(select: HTMLSelectElement, devices: Device[], chosen: Device | null): void {
  const options = [new Option('System default', '')];
  for (const { id, label } of devices) options.push(new Option(label, id));
  if (chosen !== null && !devices.some(device => device.id === chosen.id)) {
    options.push(new Option(`${chosen.label} (not connected)`, chosen.id));
  }
  select.replaceChildren(...options);
  select.value = chosen?.id ?? '';
}

function chosenOf(
  select: HTMLSelectElement,
  devices: Device[],
  before: Device | null,
): Device | null {
  if (select.value === '') return null;
  return devices.find(device => device.id === select.value) ?? before;
}
