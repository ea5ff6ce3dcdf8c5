import type { Pcm } from '../audio/pcm.ts';

/** What a player needs of a decoder of one talker's stream. */
export interface Decoder {
  /**
   * A payload, or null for a packet that is to be concealed -> its samples. Throws PayloadError
   * for a payload that cannot be decoded.
   */
  decode(payload: Uint8Array | null): Pcm;
  /**
   * What is decoded next does not continue what was decoded before. `begins`: its encoder began
   * anew, too; else it lies behind a gap.
   */
  reset(begins: boolean): void;
}

/** A payload that cannot be decoded. */
export class PayloadError extends Error {}
