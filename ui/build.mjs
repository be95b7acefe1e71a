// build.mjs -- the browser's app: ui/src -> ui/dist, and, with --embed, as C for the program.
//
//   node ui/build.mjs [--out DIR] [--embed FILE.c]
//
// The page, its style and its script; what only administrators open is a script of its own, loaded when it
// is needed. Names hold hashes. It fails when what everybody loads is larger than the budget.
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const BUDGET_BYTES = 60 * 1024;
const here = dirname(fileURLToPath(import.meta.url));
const option = (name) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
};
const out = option('--out') ?? join(here, 'dist');
const embed = option('--embed');

const hash = (bytes) => createHash('sha256').update(bytes).digest('hex').slice(0, 12);

const result = await build({
  entryPoints: { app: join(here, 'src/main.tsx') },
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  splitting: true,
  metafile: true,
  bundle: true,
  minify: true,
  write: false,
  outdir: out,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  define: { 'process.env.NODE_ENV': '"production"' },
  legalComments: 'none',
  logLevel: 'warning',
});

const types = { js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8' };
const files = [];
const outputs = Object.entries(result.metafile.outputs);
const [entry, { imports }] = outputs.find(([, o]) => o.entryPoint?.endsWith('main.tsx'));
const first = new Set([entry, ...imports.filter((i) => i.kind === 'import-statement').map((i) => i.path)].map((path) => basename(path)));
for (const file of result.outputFiles) {
  const name = basename(file.path);
  const kind = name.endsWith('.css') ? 'css' : name === basename(entry) ? 'js' : 'part';
  files.push({ kind, path: `/${name}`, type: types[kind === 'css' ? 'css' : 'js'], bytes: Buffer.from(file.contents), isHashed: true, isFirst: kind === 'css' || first.has(name) });
}
const icon = readFileSync(join(here, 'src/icon.svg'));
files.push({ kind: 'icon', path: `/icon-${hash(icon)}.svg`, type: 'image/svg+xml', bytes: icon, isHashed: true });
const at = (kind) => files.find((file) => file.kind === kind).path;
const page = readFileSync(join(here, 'src/index.html'), 'utf8')
  .replace('/style.css', at('css')).replace('/app.js', at('js')).replace('/icon.svg', at('icon'))
  .replace('</head>', `${files.filter((f) => f.kind === 'part' && f.isFirst).map((f) => `<link rel="modulepreload" href="${f.path}">`).join('')}</head>`);
files.push({ kind: 'page', path: '/index.html', type: 'text/html; charset=utf-8', bytes: Buffer.from(page), isHashed: false });

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
let total = 0;
for (const file of files) {
  file.gzip = gzipSync(file.bytes, { level: 9 });
  file.gzip[9] = 255; // the operating system's byte: the same on every machine
  writeFileSync(join(out, file.path), file.bytes);
  if (file.isFirst) total += file.gzip.length;
}
console.log(`ui: script and style of everybody ${(total / 1024).toFixed(1)} KiB gzipped of ${BUDGET_BYTES / 1024}`);
if (total > BUDGET_BYTES) {
  console.error('ui: over its budget');
  process.exit(1);
}

if (embed) {
  const array = (name, bytes) => {
    const lines = [];
    for (let i = 0; i < bytes.length; i += 32) lines.push(Array.from(bytes.subarray(i, i + 32)).join(','));
    return `static const unsigned char ${name}[] = {\n${lines.join(',\n')}};\n`;
  };
  let text = '/* Made by ui/build.mjs from ui/src. */\n#include "web/assets_int.h"\n\n';
  files.forEach((file, i) => { text += array(`file_${i}`, file.bytes) + array(`gzip_${i}`, file.gzip); });
  text += '\nconst struct web_asset_file web_assets[] = {\n';
  files.forEach((file, i) => {
    text += `    {"${file.path}", "${file.type}", "\\"${hash(file.bytes)}\\"", file_${i}, gzip_${i}, sizeof(file_${i}), sizeof(gzip_${i}), ${file.isHashed}},\n`;
  });
  text += '};\nconst size_t web_asset_count = sizeof(web_assets) / sizeof(web_assets[0]);\n';
  mkdirSync(dirname(embed), { recursive: true });
  writeFileSync(embed, text);
}
