// Builds the page: node build.mjs, in this folder, behind `npm ci`. What it writes into
// server/streamcodec_server/page is committed, so that nobody needs Node to serve it.
//
// streamcodec.wasm among it comes from `native/build.py --target wasm32-wasi` (needs ziglang); the
// Makefile's `web` does both.
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '..');
const out = join(root, 'server', 'streamcodec_server', 'page');
const STATIC = ['index.html', 'icon.svg'];
const BUILT = /\.(js|html|css|svg)$/;
// What the committed files are made of: tests/test_page_built.py asks for the same sums.
const SOURCES = { page: ['web/src', 'web/package-lock.json'], engine: ['native/src'] };

async function filesOf(path) {
  try {
    const entries = await readdir(join(root, path), { recursive: true, withFileTypes: true });
    const files = entries.filter(entry => entry.isFile());
    return files.map(entry => relative(root, join(entry.parentPath, entry.name)));
  } catch (error) {
    if (error.code === 'ENOTDIR') return [path];
    throw error;
  }
}

async function sum(paths) {
  const files = (await Promise.all(paths.map(filesOf))).flat().sort();
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${file}\0`).update(await readFile(join(root, file)));
  return hash.digest('hex');
}

await mkdir(out, { recursive: true });
for (const name of await readdir(out)) if (BUILT.test(name)) await rm(join(out, name));
const options = {
  absWorkingDir: here,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  outdir: out,
};
// What page, worker and tests share is written once; the sound thread and the style stand alone.
await build({
  ...options,
  entryPoints: ['src/page/page.ts', 'src/worker.ts', 'src/core.ts'],
  entryNames: '[name]',
  chunkNames: 'shared-[hash]',
  splitting: true,
});
for (const alone of ['src/worklet.ts', 'src/page/style.css']) {
  await build({ ...options, entryPoints: [alone] });
}
for (const name of STATIC) await cp(join(here, 'src', 'page', name), join(out, name));
const sums = Object.fromEntries(
  await Promise.all(Object.entries(SOURCES).map(async ([name, paths]) => [name, await sum(paths)])),
);
await writeFile(join(out, 'sources.json'), `${JSON.stringify(sums, null, 2)}\n`);
