// Flags of media packets, and the arithmetic of their counters (docs/protocol.md).

/** The encoder started from its initial state with this packet. */
export const RESET = 1;
/** Voice activity was detected. */
export const VOICE = 2;
/** The payload describes background noise. */
export const DTX = 4;
/** Samples before this packet were never captured. */
export const DISCONTINUITY = 8;

/** newer - older modulo 2^32, as a signed number: -2^31 .. 2^31 - 1. Of integers below 2^53. */
export function sequenceDistance(newer: number, older: number): number {
  return (newer - older) | 0;
}
