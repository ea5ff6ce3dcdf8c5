// What runs in the sound device's thread: it moves samples, and says how many.

import type { Captured, Played } from './audio/link.ts';
import { channelOf, concatenated, meanOf, type Pcm } from './audio/pcm.ts';
import { Ring } from './audio/ring.ts';

// Of 128 samples each, 2.7 ms at 48 kHz: a message costs the worker as much as decoding as much.
const PLAYED_QUANTA = 2;
const CAPTURED_QUANTA = 3;

interface Options {
  processorOptions: { memory: SharedArrayBuffer | null; channels: number };
}

/** One end of the way to the worker, whose port comes in the first message. */
abstract class Moves extends AudioWorkletProcessor {
  protected readonly ring: Ring | null;
  protected worker: MessagePort | null = null;

  constructor({ processorOptions: { memory, channels } }: Options) {
    super();
    this.ring = memory === null ? null : new Ring(memory, channels);
    this.port.onmessage = (event: MessageEvent<{ port: MessagePort }>) => {
      this.worker = event.data.port;
      this.greeted(this.worker);
    };
  }

  protected greeted(_worker: MessagePort): void {}
}

/** Gives the loudspeaker what the worker has decoded. */
class Player extends Moves {
  private readonly blocks: Pcm[] = []; // where there is no ring
  private at = 0; // in the first of them
  private begun = false;
  private quanta = 0;
  private played = 0;
  private dry = 0;

  protected override greeted(worker: MessagePort): void {
    worker.onmessage = (block: MessageEvent<Pcm>) => this.blocks.push(block.data);
  }

  process(_: Float32Array[][], outputs: Float32Array[][]): boolean {
    const count = this.read(outputs[0]);
    this.begun ||= count > 0;
    if (this.begun && count < outputs[0][0].length) this.dry++;
    this.played += count;
    if (this.worker !== null && this.quanta++ % PLAYED_QUANTA === 0) {
      const said: Played = { played: this.played, dry: this.dry };
      this.worker.postMessage(said);
    }
    return true;
  }

  /** The rest of `pcm` stays silent, as it came. */
  private read(pcm: Pcm): number {
    if (this.ring !== null) return this.ring.read(pcm);
    const samples = pcm[0].length;
    let count = 0;
    while (count < samples && this.blocks.length > 0) {
      const [block] = this.blocks;
      const end = Math.min(block[0].length, this.at + samples - count);
      pcm.forEach((plane, c) => plane.set(channelOf(block, c).subarray(this.at, end), count));
      count += end - this.at;
      this.at = end;
      if (end === block[0].length) {
        this.blocks.shift();
        this.at = 0;
      }
    }
    return count;
  }
}

/** Gives the worker what the microphone hears, its channels' mean. */
class Capture extends Moves {
  private gathered: Float32Array[] = [];
  private lost = 0;

  process(inputs: Float32Array[][]): boolean {
    const channels = inputs[0];
    if (this.worker === null || channels.length === 0) return true;
    this.gathered.push(meanOf(channels).slice()); // the browser goes on to write into its own
    if (this.gathered.length === CAPTURED_QUANTA) this.pass(this.worker);
    return true;
  }

  private pass(worker: MessagePort): void {
    const pcm = concatenated(this.gathered);
    this.gathered = [];
    if (this.ring === null) {
      const said: Captured = { pcm, lost: this.lost };
      worker.postMessage(said, [pcm.buffer]);
      return;
    }
    this.lost += pcm.length - this.ring.write([pcm]);
    const said: Captured = { pcm: null, lost: this.lost };
    worker.postMessage(said);
  }
}

registerProcessor('streamcodec-player', Player);
registerProcessor('streamcodec-capture', Capture);
