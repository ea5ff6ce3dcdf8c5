// node page_codec.mjs CORE_JS WASM BASE LAYERED PCM PAYLOADS OUT: the page's codec on a recording.
// BASE, LAYERED: files of streamcodec.coding.page_codec. PCM: float32, 16 kHz. PAYLOADS: written, if
// it is not there, from the PCM by the page's encoder (each with its length, uint16); else read, of
// LAYERED's kind. OUT: what the page's decoder makes of the payloads, the fifth lost.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';

const [core, wasm, base, layered, pcmFile, payloadsFile, out] = process.argv.slice(2);
const { Codec, Engine, PayloadError, atOnce, inTurn, modelFile } = await import(pathToFileURL(core).href);

const engine = await Engine.start(await WebAssembly.compile(readFileSync(wasm)));
const first = atOnce(modelFile(gunzipSync(readFileSync(base))));
const made = existsSync(payloadsFile);
const second = made ? await inTurn(modelFile(gunzipSync(readFileSync(layered)))) : null;
const codec = await inTurn(Codec.opened(engine, first, second));
const { packetSamples, sampleRate, baseLevels } = codec.facts;
const level = made ? baseLevels + 1 : 7;

if (!made) {
  const bytes = readFileSync(pcmFile);
  const pcm = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const encoder = codec.encoder({ baseLevel: level, copyLevel: 2 });
  const parts = [];
  for (let at = 0; at + packetSamples <= pcm.length; at += packetSamples) {
    const payload = encoder.encode(pcm.subarray(at, at + packetSamples), level);
    const copy = encoder.copy();
    if (copy.length > payload.length + 2) throw new Error('a copy is longer than its packet');
    parts.push(Buffer.from(Uint16Array.of(payload.length).buffer), Buffer.from(payload));
  }
  writeFileSync(payloadsFile, Buffer.concat(parts));
}

const highBand = process.env.HIGH_BAND ?? '';
const info = { packetSamples, sampleRate, channels: 1, baseLevel: level, highBand };
const decoder = codec.decoder(info);
const payloads = readFileSync(payloadsFile);
const heard = [];
for (let at = 0, n = 0; at < payloads.length; n++) {
  const size = payloads.readUInt16LE(at);
  const payload = n === 5 ? null : new Uint8Array(payloads.subarray(at + 2, at + 2 + size));
  heard.push(decoder.decode(payload));
  at += 2 + size;
}
let refused = 0;
try {
  decoder.decode(new Uint8Array(40).fill(255));
} catch (error) {
  refused = error instanceof PayloadError ? 1 : 0;
}
writeFileSync(out, Buffer.concat(heard.map(pcm => Buffer.from(pcm.buffer, pcm.byteOffset, 4 * pcm.length))));
console.log(JSON.stringify({ hash: codec.facts.hash, packets: heard.length, refused }));
