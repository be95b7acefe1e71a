// logic.test.mjs -- order, ages, numbers, gaps and the event stream, without a browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build } from 'esbuild';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const made = await build({ entryPoints: [join(here, '../src/logic.ts')], bundle: true, write: false, format: 'esm' });
const logic = await import(`data:text/javascript;base64,${Buffer.from(made.outputFiles[0].text).toString('base64')}`);

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const row = (patientId, low, extra = {}) => ({ patientId, location: `Bed ${patientId}`, news2: low === null ? null : { low, high: low }, risk: null, flag: null, item: null, change: 1, ...extra });
const flag = (severity) => ({ flag: { id: 'f', severity }, item: { id: 1, state: 'open' } });

test('patients stand by acuity', () => {
  const rows = [
    row('9', 1), row('10', 1), row('a', 9), row('b', 5, flag('medium')), row('c', 2, flag('high')),
    row('d', 8, { ...flag('medium'), item: { id: 1, state: 'acknowledged' } }), row('e', null), row('f', 1, { risk: 0.4 }), row('g', 12, { ...flag('high'), item: { id: 2, state: 'acknowledged' } }),
  ];
  const order = [...rows].sort(logic.byAcuity).map((r) => r.patientId);
  // high before medium, not acknowledged before acknowledged, then NEWS2, then risk, then the bed's number
  assert.deepEqual(order, ['c', 'g', 'b', 'd', 'a', 'f', '9', '10', 'e']);
});

test('a snoozed item stands behind the others until its time is over', () => {
  const item = (id, extra = {}) => ({ id, severity: 'high', state: 'open', opened: '2026-03-14T10:00:00Z', ...extra });
  const until = '2026-03-14T11:00:00Z';
  const snoozed = item(1, { state: 'acknowledged', snoozedUntil: until });
  assert.deepEqual([snoozed, item(2, { severity: 'medium' }), item(3)].sort(logic.byUrgency).map((i) => i.id), [3, 2, 1]);
  assert.equal(logic.isSnoozed(snoozed, Date.parse(until) - 1), true);
  assert.equal(logic.isSnoozed(snoozed, Date.parse(until)), false);
  assert.equal(logic.isSnoozed({ ...snoozed, state: 'resolved' }, 0), false);
});

test('an older row never replaces a newer one', () => {
  const rows = { p: row('p', 5, { change: 7 }) };
  assert.equal(logic.mergeRow(rows, row('p', 1, { change: 6 })).p.news2.low, 5);
  assert.equal(logic.mergeRow(rows, row('p', 1, { change: 8 })).p.news2.low, 1);
  assert.deepEqual(Object.keys(logic.mergeRow(rows, row('q', 1))), ['p', 'q']);
});

test('work stands by urgency', () => {
  const item = (id, state, severity, opened) => ({ id, state, severity, opened: new Date(opened).toISOString() });
  const list = [item(1, 'resolved', 'high', 1), item(2, 'acknowledged', 'high', 1), item(3, 'open', 'medium', 1), item(4, 'open', 'high', 2), item(5, 'open', 'high', 1), item(6, 'escalated', 'high', 9)];
  assert.deepEqual(list.sort(logic.byUrgency).map((i) => i.id), [6, 5, 4, 2, 3, 1]);
});

test('durations read as people say them', () => {
  for (const [ms, text] of [[0, '0 s'], [59_999, '59 s'], [MINUTE, '1 min'], [59 * MINUTE, '59 min'], [HOUR, '1 h'], [2 * HOUR + 5 * MINUTE, '2 h 5 min'], [13 * HOUR + 5 * MINUTE, '13 h'], [50 * HOUR, '2 d'], [Infinity, '–']])
    assert.equal(logic.duration(ms), text);
  assert.equal(logic.age(null, 5), '–');
  assert.equal(logic.age(2000, 1000), '0 s'); // a clock that is ahead makes no negative age
});

test('the clock has 24 hours', () => {
  assert.equal(logic.clock(new Date(2026, 2, 14, 15, 4, 5)), '15:04');
  assert.equal(logic.clock(new Date(2026, 2, 14, 0, 4, 5), true), '00:04:05');
  assert.equal(logic.dayClock(new Date(2026, 2, 4, 15, 4, 5)), '2026-03-04 15:04:05');
  assert.equal(logic.clock('nonsense'), '–');
});

test('a value is fresh, stale, expired or missing', () => {
  const now = Date.parse('2026-03-14T10:00:00Z');
  const pulse = logic.VITALS.find((v) => v.key === 'hr');
  const pressure = logic.VITALS.find((v) => v.key === 'bp');
  const at = (minutes) => new Date(now - minutes * MINUTE).toISOString();
  assert.equal(logic.freshness(undefined, pulse, now), 'missing');
  assert.equal(logic.freshness({ time: at(1), state: 'ok' }, pulse, now), 'ok');
  assert.equal(logic.freshness({ time: at(31), state: 'ok' }, pulse, now), 'stale');
  assert.equal(logic.freshness({ time: at(31), state: 'ok' }, pressure, now), 'ok'); // a cuff is slow by nature
  assert.equal(logic.freshness({ time: at(1), state: 'expired' }, pulse, now), 'expired');
});

test('vital signs stand in the order of airway, breathing, circulation, disability, exposure', () => {
  assert.deepEqual(logic.VITALS.map((v) => v.key), ['rr', 'spo2', 'o2', 'bp', 'hr', 'avpu', 'temp']);
});

test('numbers are written with their own digits, and nothing for nothing', () => {
  assert.equal(logic.number(37.04, 1), '37.0');
  assert.equal(logic.number(undefined, 0), '–');
  assert.equal(logic.number(NaN, 0), '–');
  for (const [p, text] of [[null, '–'], [0, '0.0 %'], [0.0004, '<0.1 %'], [0.031, '3.1 %'], [0.47, '47 %']]) assert.equal(logic.percent(p), text);
  assert.equal(logic.news2Text({ low: 5, high: 8 }), '5–8');
  assert.equal(logic.news2Text({ low: 5, high: 5 }), '5');
  assert.equal(logic.news2Text(null), '–');
  assert.equal(logic.unitText('mm[Hg]'), 'mmHg');
});

test('a line is broken where nothing was measured', () => {
  const points = [0, 1, 2, 3, 30, 31].map((minute) => [minute * MINUTE, minute]);
  const [times, values] = logic.withGaps(points);
  assert.equal(times.length, 7);
  assert.equal(values[4], null);
  assert.ok(times[4] > 3 * 60 && times[4] < 30 * 60);
  assert.equal(logic.sparkPath(points, 100, 20).match(/M/g).length, 2);
  assert.equal(logic.sparkPath([], 100, 20), '');
  assert.ok(!logic.sparkPath([[0, 5], [1, 5]], 100, 20).includes('NaN'));
});

test('a chart shows the hours asked for, or the whole of a younger record', () => {
  const to = 100 * HOUR;
  assert.equal(logic.shownFrom(10 * HOUR, to, 24), 76 * HOUR);
  assert.equal(logic.shownFrom(Infinity, to, 24), 76 * HOUR);
  const young = logic.shownFrom(98 * HOUR, to, 24);
  assert.ok(young < 98 * HOUR && young > 97 * HOUR);
  assert.ok(logic.shownFrom(to - MINUTE, to, 4) <= to - 15 * MINUTE);
});

test('units are written as people write them', () => {
  assert.equal(logic.plainUnits('NEWS2 9: systolic 106 mm[Hg], temperature 38.5 Cel'), 'NEWS2 9: systolic 106 mmHg, temperature 38.5 °C');
  assert.equal(logic.plainUnits('Celia 3'), 'Celia 3');
});

test('a trend is said when there is one', () => {
  const line = (f) => Array.from({ length: 20 }, (_, i) => [i, f(i)]);
  assert.equal(logic.trendOf(line((i) => 70 + i)), 1);
  assert.equal(logic.trendOf(line((i) => 70 - i)), -1);
  assert.equal(logic.trendOf(line((i) => 70 + (i % 2))), 0);
  assert.equal(logic.trendOf(undefined), 0);
});

test('a recommendation is a draft until somebody confirms it', () => {
  const sbar = { situation: 's', background: 'b', assessment: 'a', recommendation: 'r' };
  assert.match(logic.sbarText(sbar, null), /R \(DRAFT, to be confirmed by a clinician\): r/);
  assert.match(logic.sbarText(sbar, 'Mira at 10:32'), /R \(confirmed by Mira at 10:32\): r/);
});

test('events come whole, however the bytes are cut', () => {
  const text = 'id: 7\nevent: patient\ndata: {"a":1}\n\nevent: beat\ndata: {}\n\nid: 8\nevent: it';
  for (let size = 1; size <= text.length; size++) {
    const got = [];
    const parse = logic.eventParser((event) => got.push(event));
    for (let at = 0; at < text.length; at += size) parse(text.slice(at, at + size));
    assert.deepEqual(got, [{ id: '7', event: 'patient', data: '{"a":1}' }, { id: null, event: 'beat', data: '{}' }]);
  }
});

test('a score without new values for four hours is old', () => {
  const now = Date.parse('2026-03-14T14:00:00Z');
  assert.equal(logic.isScoreOld('2026-03-14T10:00:00Z', now), false);
  assert.equal(logic.isScoreOld('2026-03-14T09:59:59Z', now), true);
});
