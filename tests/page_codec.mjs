// node page_codec.mjs CORE_JS WASM FOLDER ASKED: the page's codec on a recording. FOLDER holds files
// of streamcodec.coding.page_codec: base, layered, tables. ASKED, as JSON:
//   payloads: a file there of payloads, each with its length (uint16). Without it the page's encoder
//     makes `payloads` of `pcm` (float32, mono, at the codec's rate), and `copies` of the same.
//   level: of the payloads; layered, tables: whether the page has that file.
//   info: of the stream, besides what the codec says.
//   gaps, begins: before which payloads the decoder is reset behind a gap, and for a new beginning.
//   speeds: of packets, over and over, as a playout buffer asks.
// What its decoder makes of the payloads, the fifth lost, goes to `out`, and what is played of that
// at these speeds to `played`: samples of all channels in turn.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';

const [coreFile, wasm, folder, said] = process.argv.slice(2);
const core = await import(pathToFileURL(coreFile).href);
const asked = { layered: false, tables: false, info: {}, gaps: [], begins: [], speeds: [1] };
Object.assign(asked, JSON.parse(said));
const { level, speeds } = asked;
const given = asked.payloads !== undefined;

const read = name => readFileSync(join(folder, name));
const engine = await core.Engine.start(await WebAssembly.compile(readFileSync(wasm)));
const first = core.atOnce(core.modelFile(gunzipSync(read('base'))));
const second = asked.layered ? await core.inTurn(core.modelFile(gunzipSync(read('layered')))) : null;
const besides = { highBand: null, jointStereo: null };
if (asked.tables) {
  const { highBand, jointStereo } = core.tablesFile(gunzipSync(read('tables')));
  besides.highBand = new core.HighBand(engine, first.facts, highBand);
  await core.inTurn(besides.highBand.noisy());
  besides.jointStereo = jointStereo;
}
const codec = await core.inTurn(core.Codec.opened(engine, first, second, besides));
const { packetSamples, sampleRate } = codec.facts;

function written(payloads) {
  const parts = payloads.map(p => [Buffer.from(Uint16Array.of(p.length).buffer), Buffer.from(p)]);
  return Buffer.concat(parts.flat());
}

if (!given) {
  const bytes = read('pcm');
  const pcm = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const encoder = codec.encoder({ baseLevel: level, copyLevel: 2, highBand: codec.sound.highBand });
  const size = encoder.facts.packetSamples;
  const [payloads, copies] = [[], []];
  for (let at = 0; at + size <= pcm.length; at += size) {
    payloads.push(encoder.encode(pcm.subarray(at, at + size), level));
    copies.push(encoder.copy());
    const [payload, copy] = [payloads.at(-1), copies.at(-1)];
    if (copy.length > payload.length + 2) throw new Error('a copy is longer than its packet');
  }
  writeFileSync(join(folder, 'payloads'), written(payloads));
  writeFileSync(join(folder, 'copies'), written(copies));
}

const info = { packetSamples, sampleRate, channels: 1, baseLevel: level, jointStereo: '' };
info.highBand = given ? '' : codec.sound.highBand;
const decoder = codec.decoder({ ...info, ...asked.info });
const payloads = read(asked.payloads ?? 'payloads');
const heard = [];
for (let at = 0, n = 0; at < payloads.length; n++) {
  if (asked.gaps.includes(n)) decoder.reset(false);
  if (asked.begins.includes(n)) decoder.reset(true);
  const size = payloads.readUInt16LE(at);
  const payload = n === 5 ? null : new Uint8Array(payloads.subarray(at + 2, at + 2 + size));
  heard.push(decoder.decode(payload));
  at += 2 + size;
}
let refused = 0;
for (const wrong of [new Uint8Array(40).fill(255), new Uint8Array(1)]) {
  try {
    decoder.decode(wrong);
  } catch (error) {
    refused += error instanceof core.PayloadError ? 1 : 0;
  }
}

function write(name, packets) {
  const bytes = packets.map(pcm => {
    const samples = Float32Array.from({ length: pcm.length * pcm[0].length }, (_, n) =>
      pcm[n % pcm.length][Math.floor(n / pcm.length)],
    );
    return Buffer.from(samples.buffer);
  });
  writeFileSync(join(folder, name), Buffer.concat(bytes));
}

const stretcher = new core.Stretcher(codec.sound.sampleRate);
write('out', heard);
write('played', heard.map((pcm, n) => stretcher.play(pcm, speeds[n % speeds.length])));
const { hash, sampleRate: rate, overlap } = codec.sound;
console.log(JSON.stringify({ hash, rate, overlap, packets: heard.length, refused }));
