// What the user chose, kept in this browser.

import type { Device } from './devices.ts';

export interface Settings {
  name: string;
  /** null: the system's default. */
  microphone: Device | null;
  loudspeaker: Device | null;
  echoCancellation: boolean;
  noiseSuppression: boolean;
  autoGainControl: boolean;
  bitrateBps: number;
  /** Whether m, space and ? do something: who dictates to a computer switches that off. */
  shortcuts: boolean;
  /** The line about headphones was read. */
  headphonesRead: boolean;
}

const KEY = 'streamcodec.settings';
const DEFAULTS: Settings = {
  name: '',
  microphone: null,
  loudspeaker: null,
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  bitrateBps: 6000,
  shortcuts: true,
  headphonesRead: false,
};

/** What was chosen before, or the defaults where nothing was or storage is switched off. */
export function loadSettings(): Settings {
  const settings: Settings = { ...DEFAULTS };
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    for (const [key, value] of Object.entries(kept ?? {})) {
      // Only what an earlier version of the page would have kept the same way.
      const known = DEFAULTS[key as keyof Settings];
      const fits =
        known === null ? value === null || isDevice(value) : typeof value === typeof known;
      if (key in DEFAULTS && fits) Object.assign(settings, { [key]: value });
    }
  } catch {
    return { ...DEFAULTS };
  }
  return settings;
}

/** Keeps them, where the browser lets the page. */
export function saveSettings(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Storage is full or switched off: they last until the page is closed.
  }
}

function isDevice(value: unknown): value is Device {
  const device = value as Partial<Device> | null;
  return typeof device?.id === 'string' && typeof device.label === 'string';
}
