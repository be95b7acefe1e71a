// logic.ts -- what can be said about rows, times and numbers without a browser.
import type { Item, Point, Row } from './types';

// Airway and breathing, circulation, disability, exposure: the order in which a patient is looked at.
export type VitalInfo = {
  codes: string[]; key: string; short: string; name: string; unit: string; digits: number;
  normal?: [number, number]; // where NEWS2 gives no points
  scale: [number, number];   // what a chart shows at least
  freshMs: number;           // older than this is stale on the page, whatever the server said
};
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
export const VITALS: VitalInfo[] = [
  { codes: ['9279-1'], key: 'rr', short: 'Resp', name: 'Respiration', unit: '/min', digits: 0, normal: [12, 20], scale: [8, 30], freshMs: 30 * MINUTE },
  { codes: ['59408-5', '2708-6'], key: 'spo2', short: 'SpO₂', name: 'Oxygen saturation', unit: '%', digits: 0, normal: [96, 100], scale: [85, 100], freshMs: 30 * MINUTE },
  { codes: ['3151-8'], key: 'o2', short: 'O₂', name: 'Oxygen given', unit: 'L/min', digits: 0, scale: [0, 10], freshMs: 12 * HOUR },
  { codes: ['8480-6'], key: 'bp', short: 'BP', name: 'Blood pressure', unit: 'mmHg', digits: 0, normal: [111, 219], scale: [60, 180], freshMs: 12 * HOUR },
  { codes: ['8867-4'], key: 'hr', short: 'Pulse', name: 'Pulse', unit: '/min', digits: 0, normal: [51, 90], scale: [40, 140], freshMs: 30 * MINUTE },
  { codes: ['80288-4'], key: 'avpu', short: 'ACVPU', name: 'Consciousness', unit: '', digits: 0, scale: [0, 1], freshMs: 12 * HOUR },
  { codes: ['8310-5'], key: 'temp', short: 'Temp', name: 'Temperature', unit: '°C', digits: 1, normal: [36.1, 38], scale: [35, 40], freshMs: 12 * HOUR },
];
export const DIASTOLIC = '8462-4';
const UNITS: Record<string, string> = { 'mm[Hg]': 'mmHg', Cel: '°C', '[degF]': '°F', '{score}': '' };
export const unitText = (unit?: string) => (unit === undefined ? '' : UNITS[unit] ?? unit);

// Titles are written by the program with UCUM units; people read the usual ones.
export const plainUnits = (text: string) => text.replaceAll('mm[Hg]', 'mmHg').replace(/(\d) Cel\b/g, '$1 °C').replace(/(\d) \[degF\]/g, '$1 °F');

const CONSCIOUSNESS: Record<string, string> = { A: 'Alert', C: 'Confused', V: 'Voice', P: 'Pain', U: 'Unresponsive' };
export const consciousnessText = (text?: string) => (text ? CONSCIOUSNESS[text] ?? text : '–');

export const number = (value: number | undefined | null, digits: number) =>
  value === undefined || value === null || !Number.isFinite(value) ? '–' : value.toFixed(digits);

export const percent = (p: number | null | undefined) => {
  if (p === null || p === undefined) return '–';
  const value = p * 100;
  return value > 0 && value < 0.1 ? '<0.1 %' : `${value < 10 ? value.toFixed(1) : Math.round(value)} %`;
};

// ---- time ----

export const ageMs = (time: string | number | null | undefined, now: number) =>
  time === null || time === undefined ? Infinity : Math.max(0, now - (typeof time === 'number' ? time : Date.parse(time)));

// "40 s", "3 min", "2 h 5 min", "4 d"
export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return '–';
  const seconds = Math.floor(Math.abs(ms) / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 && hours < 12 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}
export const age = (time: string | number | null | undefined, now: number) => duration(ageMs(time, now));

const pad = (n: number) => String(n).padStart(2, '0');
// 24-hour clock, local time
export function clock(time: string | number | Date, withSeconds = false): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? '–' : `${pad(date.getHours())}:${pad(date.getMinutes())}${withSeconds ? `:${pad(date.getSeconds())}` : ''}`;
}
export function dayClock(time: string | number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? '–' : `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock(date, true)}`;
}
export function utcOffset(date = new Date()): string {
  const minutes = -date.getTimezoneOffset();
  return `UTC${minutes < 0 ? '−' : '+'}${pad(Math.floor(Math.abs(minutes) / 60))}:${pad(Math.abs(minutes) % 60)}`;
}

// ---- is a value to be believed? ----

export type Freshness = 'ok' | 'stale' | 'expired' | 'missing';
export function freshness(vital: { time?: string; state?: string } | undefined, info: VitalInfo, now: number): Freshness {
  if (!vital || !vital.time) return 'missing';
  if (vital.state && vital.state !== 'ok') return 'expired';
  return ageMs(vital.time, now) > info.freshMs ? 'stale' : 'ok';
}

// ---- NEWS2 ----

export const BANDS = ['low', 'low-medium', 'medium', 'high'];
export const bandLevel = (band?: string | null) => Math.max(0, BANDS.indexOf(band ?? 'low'));
export const news2Text = (n: { low: number; high: number } | null) => (n ? (n.high > n.low ? `${n.low}–${n.high}` : String(n.low)) : '–');

// ---- order by acuity, as the server orders ----

const severity = (row: Row) => (row.flag ? (row.flag.severity === 'high' ? 2 : 1) : 0);
const isOpen = (row: Row) => (row.item && row.item.state === 'open' ? 1 : 0);
export function byAcuity(a: Row, b: Row): number {
  return severity(b) - severity(a)
    || (a.flag && b.flag ? isOpen(b) - isOpen(a) : 0)
    || (b.news2?.low ?? -1) - (a.news2?.low ?? -1)
    || (b.risk ?? -1) - (a.risk ?? -1)
    || a.location.localeCompare(b.location, 'en', { numeric: true })
    || (a.patientId < b.patientId ? -1 : 1);
}

// A newer row replaces an older one of the same patient; never the other way round.
export function mergeRow(rows: Record<string, Row>, row: Row): Record<string, Row> {
  const old = rows[row.patientId];
  return old && old.change > row.change ? rows : { ...rows, [row.patientId]: row };
}

const ITEM_ORDER: Record<string, number> = { escalated: 0, open: 1, assigned: 2, acknowledged: 3, resolved: 9 };
export const isItemOpen = (item: Item) => item.state !== 'resolved';
// The server wakes it up; until it has, a snooze that is over counts as none.
export const isSnoozed = (item: Item, now: number) => isItemOpen(item) && !!item.snoozedUntil && Date.parse(item.snoozedUntil) > now;
export function byUrgency(a: Item, b: Item): number {
  return Number(isItemOpen(b)) - Number(isItemOpen(a))
    || Number(!!a.snoozedUntil) - Number(!!b.snoozedUntil)
    || Number(b.severity === 'high') - Number(a.severity === 'high')
    || (ITEM_ORDER[a.state] ?? 5) - (ITEM_ORDER[b.state] ?? 5)
    || Date.parse(a.opened) - Date.parse(b.opened);
}

// ---- charts ----

// A line is broken where nothing was measured for longer than usual: never drawn over a gap.
export function gapMs(points: Point[]): number {
  if (points.length < 3) return 10 * MINUTE;
  const steps = points.slice(1).map((point, i) => point[0] - points[i][0]).sort((a, b) => a - b);
  return Math.min(6 * HOUR, Math.max(2 * MINUTE, steps[Math.floor(steps.length / 2)] * 4));
}
export function withGaps(points: Point[]): [number[], (number | null)[]] {
  const limit = gapMs(points);
  const times: number[] = [];
  const values: (number | null)[] = [];
  points.forEach(([time, value], i) => {
    if (i && time - points[i - 1][0] > limit) {
      times.push((points[i - 1][0] + limit) / 1000);
      values.push(null);
    }
    times.push(time / 1000);
    values.push(value);
  });
  return [times, values];
}

// What a chart shows: the hours asked for, or less where the record is younger than that.
export function shownFrom(earliest: number, to: number, hours: number): number {
  const whole = to - hours * HOUR;
  if (!Number.isFinite(earliest) || earliest <= whole) return whole;
  return Math.max(whole, Math.min(earliest, to - 15 * MINUTE) - (to - earliest) * 0.03);
}

// The path of a sparkline: time to the right, gaps left open.
export function sparkPath(points: Point[], width: number, height: number): string {
  if (points.length === 0) return '';
  const limit = gapMs(points);
  const times = points.map((p) => p[0]);
  const values = points.map((p) => p[1]);
  const [t0, t1] = [times[0], times[times.length - 1]];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (t: number) => (t1 > t0 ? ((t - t0) / (t1 - t0)) * width : width);
  const y = (v: number) => (high > low ? height - ((v - low) / (high - low)) * height : height / 2);
  return points.map(([t, v], i) =>
    `${i === 0 || t - times[i - 1] > limit ? 'M' : 'L'}${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join('');
}

export function trendOf(points: Point[] | undefined): -1 | 0 | 1 {
  if (!points || points.length < 4) return 0;
  const half = Math.floor(points.length / 2);
  const mean = (list: Point[]) => list.reduce((sum, p) => sum + p[1], 0) / list.length;
  const before = mean(points.slice(0, half));
  const after = mean(points.slice(half));
  const limit = Math.max(Math.abs(before) * 0.05, 0.2);
  return after - before > limit ? 1 : before - after > limit ? -1 : 0;
}

// ---- SBAR as text ----

export type Sbar = { situation: string; background: string; assessment: string; recommendation: string };
export const sbarText = (sbar: Sbar, confirmed: string | null) =>
  `S: ${sbar.situation}\nB: ${sbar.background}\nA: ${sbar.assessment}\nR (${confirmed ? `confirmed by ${confirmed}` : 'DRAFT, to be confirmed by a clinician'}): ${sbar.recommendation}\n`;

// ---- server-sent events ----

export type ServerEvent = { id: string | null; event: string; data: string };
// Takes text as it comes and gives whole events; the rest is kept.
export function eventParser(take: (event: ServerEvent) => void): (text: string) => void {
  let rest = '';
  return (text) => {
    rest += text;
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      const event: ServerEvent = { id: null, event: 'message', data: '' };
      for (const line of rest.slice(0, end).split('\n')) {
        const colon = line.indexOf(':');
        const value = line.slice(colon + 1).replace(/^ /, '');
        if (line.startsWith('id:')) event.id = value;
        else if (line.startsWith('event:')) event.event = value;
        else if (line.startsWith('data:')) event.data += (event.data ? '\n' : '') + value;
      }
      rest = rest.slice(end + 2);
      take(event);
    }
  };
}

// A score rests on values of at most four hours (the scorer's own expiry): older, it is history.
export const isScoreOld = (time: string, now: number) => ageMs(time, now) > 4 * HOUR;
