// preview.mjs -- the app with made-up patients, for looking at it: no server, no data of anybody.
//
//   node ui/preview.mjs [PORT]      then open http://127.0.0.1:PORT/ and log in with any user;
//                                   user "wall" is a wall display, "late" gets no beats
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = join(dirname(fileURLToPath(import.meta.url)), 'dist');
const MINUTE = 60_000;
const iso = (ms) => new Date(ms).toISOString();
const NAMES = ['Ada Example', 'Bruno Sample', 'Carla Demo', 'Dorian Placeholder', 'Edith Fictional', 'Femi Invented', 'Greta Mock', 'Hanno Madeup', 'Ines Pretend', 'Jonas Specimen', 'Karin Imaginary', 'Luca Testcase', 'Maria-Antonia van der Langename', 'Noor Synthetic'];
let seed = 7;
const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
let change = 100;

const LEVEL = [3, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const walk = (from, spread, count, stepMs, end) => {
  const points = [];
  let value = from;
  for (let i = 0; i < count; i++) {
    value += (random() - 0.5) * spread + (from - value) * 0.1;
    if (i > count * 0.4 && i < count * 0.47) continue; // nothing was measured
    points.push([end - (count - i) * stepMs, Number(value.toFixed(1))]);
  }
  return points;
};
const CODES = {
  '9279-1': ['respiration', '/min', 16, 1.5], '59408-5': ['SpO2', '%', 97, 1], '3151-8': ['oxygen flow', 'L/min', 0, 0], '8480-6': ['systolic', 'mm[Hg]', 124, 6],
  '8462-4': ['diastolic', 'mm[Hg]', 76, 4], '8867-4': ['heart rate', '/min', 76, 4], '8310-5': ['temperature', 'Cel', 36.8, 0.1],
};
const SICK = { '9279-1': 9, '59408-5': -7, '3151-8': 3, '8480-6': -32, '8462-4': -18, '8867-4': 44, '8310-5': 1.8 };

function makeRow(i, now = Date.now()) {
  const level = LEVEL[i];
  const vitals = {};
  const spark = {};
  for (const [code, [name, unit, base, spread]] of Object.entries(CODES)) {
    const points = walk(base + (SICK[code] * level) / 3, spread, 40, 30_000, now - 8000);
    const isTemp = code === '8310-5';
    if (i === 12 && isTemp) continue;
    const value = Number(points[points.length - 1][1].toFixed(isTemp ? 1 : 0));
    const old = i === 4 && code === '8867-4';
    vitals[code] = { name, value: code === '59408-5' ? Math.min(100, value) : value, unit, time: iso(now - (old ? 50 * MINUTE : code.startsWith('84') ? 22 * MINUTE : 8000)), state: i === 3 && code === '59408-5' ? 'expired' : 'ok' };
    spark[code] = points;
  }
  if (i !== 5) vitals['80288-4'] = { name: 'consciousness', text: level === 3 ? 'V' : 'A', time: iso(now - 3 * 3600_000), state: 'ok' };
  const low = [1, 4, 6, 9][level] - (i % 2);
  const flag = level >= 2 ? { id: `f${i}`, rule: 'news2', severity: level === 3 ? 'high' : 'medium', title: level === 3 ? 'NEWS2 9: respiration 25 /min, SpO2 90 %, confused' : 'NEWS2 6: pulse 112 /min, temperature 38.4 °C', since: iso(now - 12 * MINUTE) } : null;
  const item = flag ? { id: i + 1, state: work[i + 1]?.state ?? 'open', assignee: work[i + 1]?.assignee ?? null } : null;
  return {
    patientId: `p${i + 1}`, name: NAMES[i], initials: NAMES[i].split(' ').map((w) => w[0]).join(''), ageYears: 41 + i * 3, gender: i % 2 ? 'male' : 'female', identifier: `MRN-${1001 + i}`,
    location: `Ward ${4 + (i % 2)}, Bed ${i + 1}`, unit: `Ward ${4 + (i % 2)}`,
    news2: i === 11 ? null : { low, high: low + (i % 3 === 1 ? 3 : 0), band: ['low', 'low-medium', 'medium', 'high'][low >= 7 ? 3 : low >= 5 ? 2 : i === 4 ? 1 : 0], complete: i % 3 !== 1 },
    risk: i === 9 ? null : [0.004, 0.031, 0.18, 0.47][level], riskBand: i === 9 ? null : ['low', 'low', 'medium', 'high'][level], time: iso(now - 8000),
    vitals, spark, news2Spark: walk(low, 1, 30, MINUTE, now), flag, item, trend: ['steady', 'steady', 'up', 'up'][level], change: ++change,
  };
}

const work = {};
const makeItem = (i) => ({
  id: i + 1, patientId: `p${i + 1}`, name: NAMES[i], location: `Ward ${4 + (i % 2)}, Bed ${i + 1}`, severity: LEVEL[i] === 3 ? 'high' : 'medium',
  title: LEVEL[i] === 3 ? 'NEWS2 9: respiration 25 /min, SpO2 90 %, confused' : 'NEWS2 6: pulse 112 /min, temperature 38.4 °C', state: 'open', opened: iso(Date.now() - (12 + i * 30) * MINUTE), dueTime: iso(Date.now() + (18 - i * 30) * MINUTE),
  assignee: null, acknowledgedBy: null, acknowledged: null, flagOpen: i !== 2, history: [{ what: 'opened', user: 'vigil', time: iso(Date.now() - 12 * MINUTE), text: '' }],
});
for (const i of [0, 1, 2]) work[i + 1] = makeItem(i);
Object.assign(work[3], { state: 'acknowledged', acknowledgedBy: 'mira', acknowledged: iso(Date.now() - 40 * MINUTE), assignee: 'jon', history: [...work[3].history, { what: 'acknowledged', user: 'mira', time: iso(Date.now() - 40 * MINUTE), text: '' }, { what: 'note', user: 'mira', time: iso(Date.now() - 38 * MINUTE), text: 'Cultures taken, antibiotics given, looks better.' }] });
const rows = NAMES.map((_, i) => makeRow(i));

const STEPS = ['Device sends to the hub', 'Edge gateway forwards to the hub', 'Raw data copied to the archive', 'Payload durable for the connector', 'Connector resolves the patient, writes the Observation', 'Normalized measurement', 'Patient merged into the measurement', 'Enriched measurement', 'Enriched data to the lake', 'Windowing and scoring', 'History from the lake, scored copy to the lake', 'Scored window', 'RiskAssessment and Flag written', 'Repository for the care team updated', 'Live board updated', 'Scheduled report refreshed', 'Care team app filled', 'Care coordination: cards and lists'];
const pathOf = (step) => (step <= 5 ? 'blue' : step <= 11 ? 'green' : step <= 15 ? 'red' : 'orange');
const started = Date.now();
const steps = () => STEPS.map((name, i) => ({
  step: i + 1, name, path: pathOf(i + 1), count: Math.floor(((Date.now() - started) / 1000) * (i < 9 ? 1240 : 14)) + 41200, ratePerSecond: i === 1 || i > 16 ? 0 : i < 9 ? 1240.4 : 13.9, lag: i === 8 ? 812 : 0, p99Ms: i * 3.1 + 0.8,
  last: iso(Date.now() - i * 200), error: i === 17 ? 'alert.webhook: teams answered 429, again in 8 s' : '', errorTime: i === 17 ? iso(Date.now() - 40_000) : null,
}));

const health = () => ({ ok: true, troubles: process.env.TROUBLE ? [{ area: 'capture', code: 'lake.write', text: 'the lake cannot be written: no space left on device', since: iso(Date.now() - 5 * MINUTE) }] : [], version: '0.1.0' });

let user = null;
const boardOf = () => ({ asOf: iso(Date.now()), change, patients: rows, health: health() });
function patient(id) {
  const i = Number(id.slice(1)) - 1;
  const row = rows[i];
  if (!row) return null;
  const now = Date.now();
  const series = {};
  for (const [code, [name, unit, base, spread]] of Object.entries(CODES)) series[code] = { name, unit, points: walk(base + (SICK[code] * LEVEL[i]) / 3, spread, code.startsWith('84') ? 48 : 500, code.startsWith('84') ? 30 * MINUTE : 3 * MINUTE, now) };
  const part = (name, code, score, unit) => { const v = row.vitals[code]; return v ? { part: name, score, value: v.value, text: v.text, unit: unit ?? v.unit, time: v.time, state: v.state } : { part: name, score: 0, state: 'missing' }; };
  return {
    row, news2: { ...row.news2, singleThree: LEVEL[i] === 3, parts: [part('respiration', '9279-1', LEVEL[i]), part('spo2', '59408-5', LEVEL[i]), part('oxygen', '3151-8', LEVEL[i] ? 2 : 0), part('systolic', '8480-6', 1), part('pulse', '8867-4', 2), part('consciousness', '80288-4', LEVEL[i] === 3 ? 3 : 0), part('temperature', '8310-5', 1)] },
    model: row.risk === null ? null : { name: 'sepsis-vitals', version: '1', probability: row.risk, horizonHours: 6, band: row.riskBand, contributions: [{ vital: 'respiration', value: 0.41, text: 'respiration 26 /min, up 8 in 1 h' }, { vital: 'spo2', value: 0.22, text: 'SpO2 90 %, down 5 in 4 h' }, { vital: 'temperature', value: -0.08, text: 'temperature 36.9 °C, steady' }] },
    vitals: Object.entries(row.vitals).map(([code, v]) => ({ code, ...v })), series, scores: walk(4, 1, 200, 7 * MINUTE, now).map(([t, v]) => [t, Math.max(0, Math.round(v)), Math.round(v) + 2, Math.max(0, v / 40)]),
    flags: row.flag ? [{ ...row.flag, opened: row.flag.since, closed: null }, { id: 'old', rule: 'model', severity: 'medium', title: 'Model risk 22 % within 6 h', opened: iso(now - 20 * 60 * MINUTE), closed: iso(now - 18 * 60 * MINUTE) }] : [], items: Object.values(work).filter((w) => w.patientId === id),
  };
}
const lists = [{ id: 1, name: 'Morning round, Ward 4', members: ['p1', 'p3', 'p5'] }, { id: 2, name: 'Night handover', members: [] }];
const sbar = (row) => ({ situation: `${row.location}. NEWS2 ${row.news2?.low ?? '–'} (${row.news2?.band ?? 'no score'}), risk ${((row.risk ?? 0) * 100).toFixed(1)} % within 6 h. ${row.flag?.title ?? 'No open flag.'}`, background: `${row.ageYears} y, ${row.gender}.`, assessment: 'Respiration 2 points, pulse 2, temperature 1. Rising over 4 h.', recommendation: 'Urgent assessment by a clinician competent in acute illness within 1 h; observations at least hourly.' });
const find = (id) => rows.find((r) => r.patientId === id);

const mapping = (name) => readFileSync(join(dist, `../../mappings/ward-${name}.json`), 'utf8');
const MAPPINGS = { version: 'c54d58882c78b40a', device: mapping('device'), fhir: mapping('fhir') };

const shipped = (name, file) => JSON.parse(readFileSync(join(dist, `../../models/${name}/${file}.json`), 'utf8'));
const MODELS = ['mortality-icu', 'sepsis-full', 'sepsis-vitals'].map((name) => {
  const card = shipped(name, 'card');
  return { folder: name, mode: name === 'sepsis-vitals' ? 'show' : 'silent', name, version: card.version, digest: '1f0cbe1234567890', engine: 'xgboost', thresholds: { medium: card.thresholds.medium.probability, high: card.thresholds.high.probability }, card };
});
MODELS.push({ folder: 'sepsis-new', mode: 'absent', trouble: 'card.json cannot be read: no file' });
// Made up, but for the names and the curves: drift in pulse and temperature, outcomes for one model.
function watched(name) {
  const model = MODELS.find((m) => m.name === name);
  if (!model) return null;
  const reference = shipped(name, 'reference');
  if (name === 'mortality-icu') return { name, curves: reference.curves };
  const isMain = name === 'sepsis-vitals';
  const levelOf = (v) => (v >= 0.25 ? 'drift' : v >= 0.1 ? 'watch' : 'ok');
  const items = reference.features.map((f, i) => {
    const group = f.name.split("_")[0];
    const psi = isMain ? (group === 'pulse' ? 0.9 : group === 'temperature' ? 0.18 : group === 'spo2' ? 0.12 : 0.03) * (0.3 + 0.7 * ((i * 37) % 10) / 9) : 0.02;
    return { name: f.name, group, what: f.name.replaceAll('_', ' '), psi, missingPsi: psi / 3, level: levelOf(psi), missing: Math.min(1, f.missing + psi / 4), missingBefore: f.missing };
  });
  const count = (l) => items.filter((i) => i.level === l).length;
  const now = Date.now();
  const days = [...Array(8)].map((_, i) => ({ day: iso(Math.floor(now / 864e5 - 7 + i) * 864e5), hours: 820, medium: [9.1, 8.4, 11.2, 9.9, 14.6, 19.3, 17.8, 18.2][i], high: [2, 3, 2, 4, 5, 6, 5, 7][i], mean: 0.019 }));
  const runs = [...Array(24)].map((_, i) => ({ time: iso(now - (24 - i) * 864e5), version: model.version, worst: 0.05 + (i > 15 ? (i - 15) * 0.09 : 0.01 * (i % 3)), watch: 0, drift: 0, probabilityPsi: 0.02 + (i > 17 ? (i - 17) * 0.03 : 0), mean: 0.02, medium: 10, expectedToObserved: 1 }));
  const p = reference.probabilities;
  return {
    name, curves: reference.curves,
    result: {
      version: model.version, time: iso(now - 3 * 3600_000), from: iso(now - 7 * 864e5), isWhole: true, hoursNeeded: 500, patientsNeeded: 20, hours: 6240, patients: 148, oneIn: 1,
      features: { state: isMain ? 'ok' : 'few', hours: isMain ? 6240 : 310, patients: isMain ? 148 : 12, ofPatients: 148, items, watch: count('watch'), drift: count('drift'), worst: Math.max(...items.map((i) => i.psi)) },
      probabilities: { state: 'ok', psi: isMain ? 0.21 : 0.04, level: isMain ? 'watch' : 'ok', mean: 0.0261, edges: p.edges, shares: p.shares.map((v, i) => (i === 0 || i === 11 ? 0.001 : 0.06 + i * 0.0073)), sharesBefore: p.shares },
      alerts: { state: 'ok', medium: 13.6, high: 4.2, mediumBefore: model.card.thresholds.medium.test.alertsPer100PatientDays, highBefore: model.card.thresholds.high.test.alertsPer100PatientDays, days },
      calibration: isMain ? { state: 'ok', baseRateBefore: 0.0175, patients: 612, patientsWithOutcome: 41, hours: 31020, baseRate: 0.011, expectedToObserved: 1.62, expectedToObservedLow: 1.31, expectedToObservedHigh: 2.04, slope: 0.91, intercept: -0.74, brier: 0.0151, auroc: 0.731, aurocLow: 0.684, aurocHigh: 0.771, curve: reference.curves.calibration.map(([x, y]) => [x * 1.2, y * 0.75]) } : { state: 'none', baseRateBefore: 0.0175 },
      runs,
    },
    ...(isMain ? { proposal: { version: '2', newVersion: '2-r1', made: iso(now), slope: 1, intercept: -0.49, calibration: { slope: 0.9755, intercept: -0.5976 }, thresholds: { medium: 0.0455, high: 0.0846 }, text: 'On 612 patients, 41 of them with the outcome, the model expected 1.62 times as many outcomes as there were (95 of 100 samples: 1.31 to 2.04). Proposed: log-odds times 1.000 plus -0.490 (too few outcomes for a slope). A probability of 10 % would read 6.4 %. Thresholds move along, so the same patients are in the same bands.' } } : {}),
  };
}

const routes = {
  'GET /api/board': () => boardOf(),
  'GET /api/worklist': () => ({ asOf: iso(Date.now()), items: Object.values(work) }),
  'GET /api/lists': () => ({ lists: lists.map((l) => ({ id: l.id, name: l.name, count: l.members.length })) }),
  'POST /api/lists': (body) => { lists.push({ id: lists.length + 1, name: body.name, members: [] }); return { id: lists.length }; },
  'GET /api/report': () => ({ asOf: iso(Date.now() - 3 * MINUTE), nextRun: iso(Date.now() + 2 * MINUTE), everySeconds: 300, patients: 14, bands: { low: 9, 'low-medium': 1, medium: 3, high: 1 }, openFlags: 3, unacknowledged: 2, medianAcknowledgeSeconds: 312, overdue: [rows[1]], byUnit: [{ unit: 'Ward 4', patients: 7, high: 1, medium: 1 }, { unit: 'Ward 5', patients: 7, high: 0, medium: 2 }] }),
  'GET /api/outbox': () => ({ cards: [{ id: 3, target: 'teams', title: 'HIGH: NEWS2 9, Bed 1', state: 'sent', attempts: 1, time: iso(Date.now() - 12 * MINUTE) }, { id: 2, target: 'webhook', title: 'MEDIUM: NEWS2 6, Bed 2', state: 'failed', attempts: 8, time: iso(Date.now() - 42 * MINUTE), why: 'http.connect: connection refused by hooks.example' }, { id: 1, target: 'teams', title: 'MEDIUM: NEWS2 6, Bed 3', state: 'due', attempts: 2, time: iso(Date.now() - MINUTE), why: 'http.status: 429' }] }),
  'GET /api/deadletters': () => ({ letters: [{ stage: 'connector', reason: 'connector.json', text: 'payload is not JSON: line 1, column 4: expected a value', topic: 'device.raw', partition: 0, seq: 4711, time: iso(Date.now() - 9 * MINUTE), key: 'bed-4', payload: '{"hr":,}', payloadEncoding: 'utf-8' }, { stage: 'connector', reason: 'connector.patient', text: 'no Patient for device bed-99', topic: 'device.raw', partition: 0, seq: 4611, time: iso(Date.now() - 19 * MINUTE), key: 'bed-99', payload: 'AAECAw==', payloadEncoding: 'base64' }] }),
'GET /api/models': () => ({ models: MODELS }),
  'POST /api/models': () => ({ models: MODELS }),
  'POST /api/models/watch': () => ({}),
  'GET /api/mappings': () => ({ active: MAPPINGS.version, compat: 'default', files: { device: 'mappings/ward-device.json', fhir: 'mappings/ward-fhir.json' }, trouble: '', history: [{ version: MAPPINGS.version, time: iso(Date.now() - 120 * MINUTE), who: 'ann', how: 'workbench' }, { version: '07567e805b54414b', time: iso(Date.now() - 3000 * MINUTE), who: 'vigil', how: 'start' }] }),
  'GET /api/mappings/active': () => MAPPINGS,
  'GET /api/mappings/files': () => MAPPINGS,
  'GET /api/mappings/messages': () => ({ letters: [], messages: [{ id: '0-4711', device: 'bed-4', time: iso(Date.now() - 9000), payload: '{"hr":72}', envelope: '{"Body":{"hr":72},"Properties":{},"SystemProperties":{"iothub-connection-device-id":"bed-4"}}' }] }),
  'POST /api/mappings/try': (body) => (body.device.includes('typeName') ? { version: MAPPINGS.version, findings: [], result: { message: 'message', measurements: [{ type: 'heartrate', occurrenceTimeUtc: iso(Date.now()), deviceId: 'bed-4', properties: [{ name: 'hr', value: '72' }] }], observations: [{ resourceType: 'Observation', status: 'final', code: { text: 'heartrate' }, valueQuantity: { value: 72, unit: '/min' } }], errors: [] } }
    : { version: MAPPINGS.version, findings: [{ file: 'device', severity: 'error', line: 6, column: 19, text: "'typeName' is missing" }] }),
  'GET /api/steps': () => ({ asOf: iso(Date.now()), steps: steps() }),
};
const streams = new Set();
const publish = (event, data) => { for (const s of streams) s.write(`id: ${change}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`); };
setInterval(() => { if (user?.name !== 'late') publish('beat', { asOf: iso(Date.now()) }); }, 10_000);
setInterval(() => {
  const i = Math.floor(random() * rows.length);
  rows[i] = makeRow(i);
  if (user?.name !== 'late') publish('patient', rows[i]);
}, 1500);

function answer(method, url, body) {
  const path = url.pathname;
  if (routes[`${method} ${path}`]) return routes[`${method} ${path}`](body);
  const parts = path.split('/').slice(2);
  if (parts[0] === 'patients') return patient(parts[1]);
  if (parts[0] === 'models' && method === 'GET') return watched(parts[1]);
  if (parts[0] === 'trace') {
    const t0 = Date.now() - 90_000;
    return { id: parts[1] === 'latest' ? '0-4711' : parts[1], device: 'bed-4', received: iso(t0), isWhole: true, steps: STEPS.map((name, i) => (i === 1 ? { step: 2, name, text: 'directly from the device' } : i === 2 || i > 14 ? { step: i + 1, name } : { step: i + 1, name, time: iso(t0 + i * 4), ms: i * 4.2, text: i === 4 ? 'Observation/o-123, version 1' : '' })) };
  }
  if (parts[0] === 'lists' && parts[2] === 'patients') {
    const list = lists[parts[1] - 1];
    list.members = list.members.filter((id) => id !== body.patientId);
    if (body.member) list.members.push(body.patientId);
    return {};
  }
  if (parts[0] === 'lists') { const list = lists[parts[1] - 1]; return list && { id: list.id, name: list.name, patients: list.members.map((id) => ({ row: find(id), sbar: sbar(find(id)) })) }; }
  if (parts[0] === 'worklist' && method === 'POST') {
    const item = work[parts[1]];
    const at = iso(Date.now());
    item.history.push({ what: parts[2], user: user.name, time: at, text: body?.text ?? body?.assignee ?? '' });
    if (parts[2] === 'acknowledge') Object.assign(item, { state: 'acknowledged', acknowledgedBy: user.name, acknowledged: at });
    if (parts[2] === 'assign') Object.assign(item, { state: 'assigned', assignee: body.assignee });
    if (parts[2] === 'escalate') item.state = 'escalated';
    if (parts[2] === 'resolve') item.state = 'resolved';
    publish('item', item);
    return { item };
  }
  return null;
}

const types = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', html: 'text/html; charset=utf-8' };
createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  let text = '';
  request.on('data', (chunk) => { text += chunk; });
  request.on('end', () => {
    const body = text ? JSON.parse(text) : undefined;
    const json = (status, value) => { response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }); response.end(JSON.stringify(value)); };
    const who = () => ({ user, csrf: 'x', idleSeconds: Number(process.env.IDLE ?? 900) });
    if (!url.pathname.startsWith('/api/')) {
      const name = url.pathname.slice(1);
      const file = readdirSync(dist).includes(name) ? name : 'index.html';
      response.writeHead(200, { 'Content-Type': types[file.split('.').pop()], 'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'" });
      response.end(readFileSync(join(dist, file)));
    } else if (url.pathname === '/api/login') {
      if (body.password === 'wrong') return json(401, { error: { code: 'web.login', text: 'the user or the password is not right' } });
      user = { name: body.user, display: body.user === 'wall' ? 'Wall, Ward 4' : 'Mira Nurse', role: body.user === 'wall' ? 'viewer' : 'admin' };
      json(200, who());
    } else if (!user) json(401, { error: { code: 'web.session', text: 'please log in' } });
    else if (url.pathname === '/api/me') json(200, who());
    else if (url.pathname === '/api/logout') { user = null; json(200, {}); }
    else if (url.pathname === '/api/events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      response.write(`id: ${change}\nevent: health\ndata: ${JSON.stringify(health())}\n\n`);
      streams.add(response);
      response.on('close', () => streams.delete(response));
    } else {
      const value = answer(request.method, url, body);
      json(value ? 200 : 404, value ?? { error: { code: 'web.not_found', text: 'no such thing' } });
    }
  });
}).listen(Number(process.argv[2] ?? 8099), '127.0.0.1', function listening() { console.log(`http://127.0.0.1:${this.address().port}/`); });
