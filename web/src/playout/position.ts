// Where in a stream a playout buffer is, as a value.

import { DTX } from '../wire/flags.ts';

/** Unwrapped sequence numbers; all null before the first packet is played. */
export interface Position {
  /** The number whose turn is next; null while nothing plays. */
  readonly due: number | null;
  /** The last number that was played or concealed. */
  readonly polled: number | null;
  /**
   * The packet that was played last describes background noise (DTX), so that nothing follows for
   * now, which is no loss.
   */
  readonly paused: boolean;
}

/** Before the first packet. */
export const BEGINNING: Position = { due: null, polled: null, paused: false };

/** The decoder has just decoded or concealed the packet before `number`. */
export function follows(position: Position, number: number): boolean {
  return position.polled !== null && number === position.polled + 1;
}

export function afterPlaying(number: number, flags: number): Position {
  const paused = (flags & DTX) !== 0;
  return { due: paused ? null : number + 1, polled: number, paused };
}

export function afterConcealing(position: Position, number: number): Position {
  return { ...position, due: number + 1, polled: number };
}

/** What lies before `number` is neither played nor concealed. */
export function skippedTo(position: Position, number: number): Position {
  return { ...position, due: number };
}

/** Nothing plays until a new stretch of packets is due. */
export function stopped(position: Position): Position {
  return { ...position, due: null };
}
