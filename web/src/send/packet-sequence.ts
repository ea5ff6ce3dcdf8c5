// Packets on their way out: the numbers, flags and copies that they get when they are sent.

import type { Packet } from '../wire/packet.ts';
import { AUDIO } from '../wire/packet.ts';
import { CopyHistory } from '../wire/redundancy.ts';
import type { StreamInfo } from '../wire/stream-info.ts';

/** Of one stream, over all of its connections. */
export class PacketSequence {
  readonly #history: CopyHistory;
  readonly #farthest: number;
  #next = 0;
  #marks = 0;

  constructor(info: StreamInfo) {
    this.#farthest = info.redundancy;
    this.#history = new CopyHistory(info.redundancy, info.packetSamples);
    this.#history.distance = 0;
  }

  /**
   * How many packets back the copy lies that each packet carries from now on, at most what the
   * stream's info announces; 0: none.
   */
  carryCopies(distance: number): void {
    this.#history.distance = Math.min(distance, this.#farthest);
  }

  /** The next packet has these flags besides its own. */
  mark(flags: number): void {
    this.#marks |= flags;
  }

  /**
   * -> the next packet, with its number, its flags and the copy of an earlier one. `position`: of
   * its first sample in the stream, counted without end. `copy`: the same sound at lower quality,
   * for later packets to carry; empty where none was made.
   */
  finish(position: number, payload: Uint8Array, copy: Uint8Array, flags = 0): Packet {
    const packet = {
      type: AUDIO,
      flags: flags | this.#marks,
      stream: 0, // the relay sets it
      sequence: this.#next,
      captureTime: position % 2 ** 32,
      payload,
    };
    this.#marks = 0;
    this.#next = (this.#next + 1) >>> 0;
    return this.#history.add(packet, copy);
  }
}
