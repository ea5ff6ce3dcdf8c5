// The codec as it comes over the network: the module, and the files of a model.

import type { CodecFiles } from '../messages.ts';
import { type Besides, Codec } from './codec.ts';
import { Engine } from './engine.ts';
import { HighBand } from './high-band.ts';
import { type ModelFile, modelFile } from './model-file.ts';
import { atOnce, givingWay, inTurn } from './pieces.ts';
import { type TablesFile, tablesFile } from './tables-file.ts';

const ENGINE = '/page/streamcodec.wasm';
const UNPACKED_AT_ONCE = 1 << 15; // bytes, within a millisecond

/** Told of so many bytes of so many; the rest is not unpacked before it answers. */
export type Progress = (bytes: number, of: number) => void | Promise<void>;

/** Fetched codecs of one model. */
export class Codecs {
  private layeredCodec: Codec | null = null;
  private fetching: Promise<Codec> | null = null;

  private constructor(
    private readonly engine: Engine,
    private readonly file: ModelFile,
    private readonly layeredPath: string,
    private readonly besides: Besides,
    /** For levels without the waveform layer. */
    readonly base: Codec,
  ) {}

  /** Throws an Error that says what could not be fetched. */
  static async fetch(files: CodecFiles, progress: Progress): Promise<Codecs> {
    const [engine, file, tables] = await Promise.all([
      fetchEngine(),
      fetched(files.base, progress).then(data => atOnce(modelFile(data))),
      fetchTables(files.tables),
    ]);
    const besides = besidesOf(engine, file, tables);
    const base = Codec.open(engine, file, besides);
    const { highBand } = besides;
    if (highBand !== null) setTimeout(() => inTurn(highBand.noisy()));
    return new Codecs(engine, file, files.layered, besides, base);
  }

  /** The codec for streams with the waveform layer; null while it was not fetched. */
  get layered(): Codec | null {
    const oneForBoth = this.layeredPath === '';
    return oneForBoth ? this.base : this.layeredCodec;
  }

  /** Fetches it, once it succeeds. Throws an Error that says what could not be fetched. */
  fetchLayered(): Promise<Codec> {
    this.fetching ??= this.openLayered().finally(() => {
      this.fetching = null;
    });
    return this.fetching;
  }

  /** In pieces: others are heard meanwhile. */
  private async openLayered(): Promise<Codec> {
    const data = await fetched(this.layeredPath, givingWay());
    const layered = await inTurn(modelFile(data));
    this.layeredCodec = await inTurn(Codec.opened(this.engine, this.file, layered, this.besides));
    return this.layeredCodec;
  }
}

/** A call goes on without what cannot be used: up to the core's 8 kHz. */
function besidesOf(engine: Engine, file: ModelFile, tables: TablesFile): Besides {
  const { highBand, jointStereo } = tables;
  try {
    if (highBand !== null) {
      return { highBand: new HighBand(engine, file.facts, highBand), jointStereo };
    }
  } catch (error) {
    console.warn(error);
  }
  return { highBand: null, jointStereo };
}

/** The same without what cannot be fetched. */
async function fetchTables(path: string): Promise<TablesFile> {
  try {
    if (path !== '') return tablesFile(await fetched(path, () => {}));
  } catch (error) {
    console.warn(error);
  }
  return { highBand: null, jointStereo: null };
}

async function fetchEngine(): Promise<Engine> {
  const response = await responseOf(ENGINE);
  return Engine.start(await WebAssembly.compile(await response.arrayBuffer()));
}

/** A file, unpacked from gzip in pieces: `progress` is told of each, and waited for. */
async function fetched(path: string, progress: Progress): Promise<Uint8Array> {
  const response = await responseOf(path);
  const of = Number(response.headers.get('Content-Length') ?? 0);
  let bytes = 0;
  const counted = new TransformStream<Uint8Array, Uint8Array>({
    async transform(received, controller) {
      for (let from = 0; from < received.length; from += UNPACKED_AT_ONCE) {
        const piece = received.subarray(from, from + UNPACKED_AT_ONCE);
        bytes += piece.length;
        await progress(bytes, of);
        controller.enqueue(piece);
      }
    },
  });
  const unpacked = response
    .body!.pipeThrough(counted)
    .pipeThrough(new DecompressionStream('gzip') as TransformStream<Uint8Array, Uint8Array>);
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

async function responseOf(path: string): Promise<Response> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`the relay does not give ${path}: HTTP ${response.status}`);
  return response;
}
