// What runs in the sound device's thread: it moves samples, and says how many.

import type { Captured, Played } from './audio/link.ts';
import { Ring } from './audio/ring.ts';

// Of 128 samples each, 2.7 ms at 48 kHz: a message costs the worker as much as decoding as much.
const PLAYED_QUANTA = 2;
const CAPTURED_QUANTA = 3;

interface Options {
  processorOptions: { memory: SharedArrayBuffer | null };
}

/** One end of the way to the worker, whose port comes in the first message. */
abstract class Moves extends AudioWorkletProcessor {
  protected readonly ring: Ring | null;
  protected worker: MessagePort | null = null;

  constructor({ processorOptions: { memory } }: Options) {
    super();
    this.ring = memory === null ? null : new Ring(memory);
    this.port.onmessage = (event: MessageEvent<{ port: MessagePort }>) => {
      this.worker = event.data.port;
      this.greeted(this.worker);
    };
  }

  protected greeted(_worker: MessagePort): void {}
}

/** Gives the loudspeaker what the worker has decoded. */
class Player extends Moves {
  private readonly blocks: Float32Array[] = []; // where there is no ring
  private at = 0; // in the first of them
  private begun = false;
  private quanta = 0;
  private played = 0;
  private dry = 0;

  protected override greeted(worker: MessagePort): void {
    worker.onmessage = (block: MessageEvent<Float32Array>) => this.blocks.push(block.data);
  }

  process(_: Float32Array[][], outputs: Float32Array[][]): boolean {
    const [first, ...others] = outputs[0];
    const count = this.read(first);
    for (const channel of others) channel.set(first);
    this.begun ||= count > 0;
    if (this.begun && count < first.length) this.dry++;
    this.played += count;
    if (this.worker !== null && this.quanta++ % PLAYED_QUANTA === 0) {
      const said: Played = { played: this.played, dry: this.dry };
      this.worker.postMessage(said);
    }
    return true;
  }

  /** The rest of `pcm` stays silent, as it came. */
  private read(pcm: Float32Array): number {
    if (this.ring !== null) return this.ring.read(pcm);
    let count = 0;
    while (count < pcm.length && this.blocks.length > 0) {
      const rest = this.blocks[0].subarray(this.at);
      const some = rest.subarray(0, pcm.length - count);
      pcm.set(some, count);
      count += some.length;
      this.at += some.length;
      if (some.length === rest.length) {
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
    const pcm = channels[0].slice();
    for (const other of channels.slice(1)) for (let t = 0; t < pcm.length; t++) pcm[t] += other[t];
    if (channels.length > 1) for (let t = 0; t < pcm.length; t++) pcm[t] /= channels.length;
    this.gathered.push(pcm);
    if (this.gathered.length === CAPTURED_QUANTA) this.pass(this.worker);
    return true;
  }

  private pass(worker: MessagePort): void {
    const pcm = joined(this.gathered);
    this.gathered = [];
    if (this.ring === null) {
      const said: Captured = { pcm, lost: this.lost };
      worker.postMessage(said, [pcm.buffer]);
      return;
    }
    this.lost += pcm.length - this.ring.write(pcm);
    const said: Captured = { pcm: null, lost: this.lost };
    worker.postMessage(said);
  }
}

function joined(parts: Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

registerProcessor('streamcodec-player', Player);
registerProcessor('streamcodec-capture', Capture);
