// What the jitter buffer takes and gives. Sans-I/O: time is an argument.
//
// Packets are received whenever the network delivers them, and one is polled per packet duration.
// Audio polls whenever it needs one packet more, so the buffer has no clock of its own that could
// drift against the loudspeaker's.

/** A payload of lower quality for the packet `sequence`; numbers as on the wire, mod 2^32. */
export interface Copy {
  sequence: number;
  captureTime: number;
  payload: Uint8Array;
}

/** What became of a packet that was received; late: its turn was over, it will not be played. */
export type Arrival = 'buffered' | 'late' | 'duplicate';

/** Decode and play this payload. */
export interface Play {
  kind: 'play';
  payload: Uint8Array;
  /** As on the wire, mod 2^32, like `captureTime`. */
  sequence: number;
  flags: number;
  /** From arrival to now. */
  waitedMs: number;
  /** The packet before it was the last to be played or concealed; else reset the decoder first. */
  follows: boolean;
  /** 1.1 plays it in 1/1.1 of the time that it took to speak. */
  speed: number;
  captureTime: number;
}

/** Packet `sequence` is due and has not arrived: play a substitute of one packet's length. */
export interface Conceal {
  kind: 'conceal';
  sequence: number;
}

/**
 * Counts of packets since the beginning, and delays in ms.
 *
 * Copies count as `recovered` and `played` only. For the packets themselves: received = played -
 * recovered + late + duplicate + skipped + those that wait.
 */
export interface PlayoutStatistics {
  received: number;
  played: number;
  /** Sequence numbers that never came. */
  lost: number;
  /** Came after their turn. */
  late: number;
  duplicate: number;
  /** Came in time and were dropped to keep the delay bounded. */
  skipped: number;
  /** Polls that were answered with Conceal. */
  concealed: number;
  /** Times that the buffer ran empty while playing. */
  underruns: number;
  /** Times that the sequence numbers began anew. */
  restarts: number;
  /** Played from a coarser copy that a later packet brought. */
  recovered: number;
  /** Audio that waits. */
  bufferMs: number;
  /** From arrival to poll, smoothed over 16 packets. */
  delayMs: number;
  /** The delay that is aimed at now. */
  targetMs: number;
}
