// Runs a WASI program: node wasi.mjs PROGRAM.wasm FOLDER ARGUMENTS. It sees FOLDER as `.`.
// Prints the seconds of CPU that this took (V8's compiler threads included), compilation before it not.
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';

const [program, folder, ...args] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: ['run', ...args], preopens: { '.': folder } });
const module = await WebAssembly.compile(await readFile(program));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
const before = process.cpuUsage();
const status = wasi.start(instance);
const { user, system } = process.cpuUsage(before);
console.log((user + system) / 1e6);
process.exitCode = status;
