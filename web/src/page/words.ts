// What is said about a call. Words and thresholds are those of the terminal's screen
// (client/streamcodec_client/screen/view.py), so that the two say the same of the same call.

import type { CallState, Level, Person } from '../messages.ts';
import type { OpenRoom } from './room-watch.ts';

/** Below this a meter is empty, and nobody talks. */
export const BAR_FLOOR_DB = -60;
/** More underruns than this within ten seconds: the computer does not keep up. */
export const SLOW_UNDERRUNS = 2;
/** A microphone that has given nothing for so long is switched off, or the wrong one. */
export const SILENT_AFTER_S = 3;

/** While the codec is fetched. */
export const LOADING = 'Loading the voice codec';
/** Said of a link to this computer. */
export const ONLY_HERE =
  'works on this computer only. To let others in, start the relay with --host 0.0.0.0, with ' +
  '--open or --keys, and with a certificate (--cert, --key).';

// The E-model's: users are satisfied; many are not.
const GOOD_MOS = 4.0;
const FAIR_MOS = 3.6;
const LOST_PERCENT = 1;
const FAR_MS = 250;

export interface Quality {
  text: string;
  grade: 'good' | 'fair' | 'poor' | '';
}

/** A word for how a person is heard, with the reason where it is not good. */
export function qualityOf(person: Person): Quality {
  if (person.mos === null) return { text: '', grade: '' };
  if (person.mos >= GOOD_MOS) return { text: 'good', grade: 'good' };
  const grade = person.mos >= FAIR_MOS ? 'fair' : 'poor';
  const reasons = [];
  if (person.concealedPercent >= LOST_PERCENT) {
    reasons.push(`${person.concealedPercent.toFixed(0)} % lost`);
  }
  if (person.delayMs !== null && person.delayMs >= FAR_MS) reasons.push('long delay');
  return { text: reasons.length ? `${grade}: ${reasons.join(', ')}` : grade, grade };
}

/** What a person does just now. */
export function doingOf(person: Person, heard: boolean): string {
  if (!heard) return 'not heard';
  if (person.muted) return 'muted';
  return talks(person.level) ? 'talking' : '';
}

/** Whether a level is that of a voice rather than of a room. */
export function talks(level: Level): boolean {
  return level.rmsDb > BAR_FLOOR_DB;
}

/** How much of a meter is filled at a level, 0 to 1. */
export function shareOf(decibels: number): number {
  return Math.max(0, Math.min(1, 1 - decibels / BAR_FLOOR_DB));
}

/** Who only listens, in a line; empty where nobody does. */
export function listeningOf(state: CallState): string {
  if (state.listeners <= 0) return '';
  const names = [...state.listenerNames];
  const others = state.listeners - names.length;
  if (others > 0) names.push(names.length ? `${others} more` : String(others));
  return `Listening: ${names.join(', ')}`;
}

/** How many people are in a room, in a line. */
export function peopleOf({ talkers, onlyListening }: OpenRoom): string {
  const parts = [];
  if (talkers > 0) parts.push(`${talkers} talking`);
  if (onlyListening > 0) parts.push(`${onlyListening} listening`);
  return parts.join(', ') || 'empty';
}

/** The connection in a line, with the reason where there is none. */
export function connectionOf(state: CallState): string {
  const word = {
    loading: LOADING,
    connecting: 'Connecting',
    connected: 'Connected',
    reconnecting: 'Reconnecting',
  }[state.connection];
  return state.reason && state.connection !== 'connected' ? `${word}: ${state.reason}` : word;
}

/** Hours, minutes and seconds, as the terminal shows them. */
export function clockOf(seconds: number): string {
  const two = (value: number) => String(Math.floor(value) % 60).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${two(seconds / 60)}:${two(seconds)}`;
}

/** A volume, with its sign. */
export function decibelsOf(decibels: number): string {
  return `${decibels > 0 ? '+' : decibels < 0 ? '−' : ''}${Math.abs(decibels)} dB`;
}

/** Bytes as people read them. */
export function megabytesOf(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
