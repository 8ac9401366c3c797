// Tint's verdict on every program: barriers and subgroup operations under control flow that is not
// uniform, reserved words, constants that overflow. naga accepts these in silence.
//
//   cargo test --release --test portability     writes the texts
//   npm install --prefix target/tint webgpu     Dawn, which carries Tint
//   node scripts/tint.mjs [folder]              exit 1 when Tint rejects one
//
// Dawn's null back end validates without a driver, against WebGPU's default limits.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const target = resolve(fileURLToPath(import.meta.url), '../../target');
const folder = process.argv[2] ?? join(target, 'tmp/wgsl');
const webgpu = createRequire(join(target, 'tint/package.json')).resolve('webgpu');
const { create, globals } = await import(webgpu);
Object.assign(globalThis, globals);

// Held by the global object: Dawn crashes when its instance is collected before its device.
globalThis.dawn = create(['backend=null']);
const adapter = await globalThis.dawn.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ['shader-f16', 'subgroups'] });

// Messages of a text, and whether it makes a pipeline.
async function verdict(text) {
  // naga refuses this line, Tint wants it.
  const code = /\bsubgroup[A-Z_]/.test(text) ? `enable subgroups;\n${text}` : text;
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const error = await device.popErrorScope();
  const lines = code.split('\n');
  const said = messages.map(m => `${m.type}: ${m.message}\n    ${(lines[m.lineNum - 1] ?? '').trim()}`);
  if (error && !messages.some(m => m.type === 'error')) said.push(`error: ${error.message}`);
  return { said, rejected: Boolean(error) };
}

// 64-bit integers are naga's own; the same text without them is judged.
const all = readdirSync(folder).filter(name => name.endsWith('.wgsl')).sort();
const files = all.filter(name => !/\bu64\b/.test(readFileSync(join(folder, name), 'utf8')));
const places = new Map();   // message -> files
let rejected = 0;
for (const file of files) {
  const result = await verdict(readFileSync(join(folder, file), 'utf8'));
  rejected += result.rejected;
  for (const message of result.said) places.set(message, [...(places.get(message) ?? []), file]);
}
for (const [message, where] of places) console.log(`${message}\n    in ${where.length}, such as ${where[0]}`);
console.log(`${files.length} programs, ${rejected} rejected by Tint; ${all.length - files.length} not WGSL (64-bit integers)`);
process.exit(files.length === 0 || rejected > 0 ? 1 : 0);
