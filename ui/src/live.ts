// live.ts -- the board's rows, the worklist's items and the program's health, kept current.
//
// The stream is read with fetch, not EventSource: that one gives up for good at the first answer that
// is not 200, and cannot say which event it saw last. Two beats (10 s each) without a word and the
// page is not live, whatever the socket says.
import { computed, signal } from '@preact/signals';
import { api, me, sessionEnded } from './api';
import { byAcuity, eventParser, mergeRow, plainUnits } from './logic';
import type { Health, Item, Row } from './types';

export const rows = signal<Record<string, Row>>({});
export const items = signal<Record<string, Item>>({});
export const health = signal<Health | null>(null);
export const hasBoard = signal(false);
export const loadError = signal('');
export const lastHeard = signal(0);    // our clock
export const isConnected = signal(false);
export const retryAt = signal(0);
export const announcement = signal(''); // for screen readers
export const tick = signal(Date.now()); // our clock, each second
const offset = signal(0);               // the server's clock is ahead of ours by this

export const now = computed(() => tick.value + offset.value); // the server's time: ages are counted in it
export const QUIET_MS = 22_000;
export const isLive = computed(() => isConnected.value && tick.value - lastHeard.value < QUIET_MS);
export const isWatching = signal(false);

export const held = signal<string[] | null>(null); // the order while somebody is inside the list
export const ordered = computed(() => {
  const list = Object.values(rows.value).filter((row) => !row.ended).sort(byAcuity);
  if (!held.value) return list;
  const place = new Map(held.value.map((id, i) => [id, i]));
  return list.sort((a, b) => (place.get(a.patientId) ?? 1e9) - (place.get(b.patientId) ?? 1e9));
});

setInterval(() => { tick.value = Date.now(); }, 1000);

function setServerTime(asOf: string) {
  const ahead = Date.parse(asOf) - Date.now();
  // Half a second of travel is no reason to move every age on the page.
  if (Number.isFinite(ahead) && Math.abs(ahead - offset.value) > 500) offset.value = ahead;
}

let lastId = '';
let abort: AbortController | null = null;
let failures = 0;
let wake: (() => void) | null = null;

async function loadBoard() {
  const board = await api<{ asOf: string; change: number; patients: Row[]; health: Health }>('GET', '/board', { isBackground: true });
  setServerTime(board.asOf);
  rows.value = Object.fromEntries(board.patients.map((row) => [row.patientId, row]));
  health.value = board.health;
  lastId = String(board.change);
  hasBoard.value = true;
  loadError.value = '';
}

export async function loadItems() {
  const list = await api<{ items: Item[] }>('GET', '/worklist', { isBackground: true });
  items.value = Object.fromEntries(list.items.map((item) => [String(item.id), item]));
}

export function putItem(item: Item | null) {
  if (item) items.value = { ...items.value, [String(item.id)]: item };
}

// Rows that came within one twentieth of a second are drawn together.
const DRAW_MS = 50;
let waiting: Row[] = [];
function putRow(row: Row) {
  waiting.push(row);
  if (waiting.length > 1) return;
  setTimeout(() => {
    let all = rows.value;
    for (const one of waiting) {
      const old = all[one.patientId];
      if (one.flag && old && old.flag?.id !== one.flag.id)
        announcement.value = `New ${one.flag.severity} flag, ${one.location}: ${plainUnits(one.flag.title)}`;
      all = mergeRow(all, one);
    }
    waiting = [];
    if (me.value) rows.value = all;
  }, DRAW_MS);
}

async function take(event: { id: string | null; event: string; data: string }) {
  lastHeard.value = Date.now();
  tick.value = Math.max(tick.value, lastHeard.value);
  if (event.id) lastId = event.id;
  const data = JSON.parse(event.data);
  if (event.event === 'patient') {
    putRow(data);
  } else if (event.event === 'item') {
    putItem(data);
  } else if (event.event === 'health') {
    health.value = data;
  } else if (event.event === 'beat') {
    setServerTime(data.asOf);
  } else if (event.event === 'reset') {
    await Promise.all([loadBoard(), loadItems()]);
  }
}

async function follow(signal: AbortSignal) {
  const answer = await fetch('/api/events', {
    headers: { Accept: 'text/event-stream', 'Last-Event-ID': lastId, 'X-Vigil-Background': '1' },
    credentials: 'same-origin', cache: 'no-store', signal,
  });
  if (answer.status === 401) {
    sessionEnded('Your session has ended. Please log in again.');
    return;
  }
  if (!answer.ok || !answer.body) throw new Error(`events: ${answer.status}`);
  isConnected.value = true;
  lastHeard.value = Date.now();
  failures = 0;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const queue: Parameters<typeof take>[0][] = [];
  const parse = eventParser((event) => queue.push(event));
  for (;;) {
    const chunk = await reader.read();
    if (chunk.done) return;
    parse(chunk.value);
    while (queue.length) await take(queue.shift()!);
  }
}

// Runs as long as somebody is logged in.
export async function watch() {
  if (isWatching.value) return;
  isWatching.value = true;
  while (me.value) {
    abort = new AbortController();
    // A socket that is silent for too long is given up: a proxy may hold it open for ever.
    const guard = setInterval(() => {
      if (isConnected.value && Date.now() - lastHeard.value > QUIET_MS + 8000) abort?.abort();
    }, 1000);
    try {
      if (!hasBoard.value) await Promise.all([loadBoard(), loadItems()]);
      await follow(abort.signal);
    } catch (error) {
      loadError.value = (error as Error).message;
    }
    clearInterval(guard);
    isConnected.value = false;
    if (!me.value) break;
    const wait = Math.min(15_000, 500 * 2 ** failures++) * (0.75 + Math.random() / 2);
    retryAt.value = Date.now() + wait;
    await new Promise<void>((done) => {
      wake = done;
      setTimeout(done, wait);
    });
  }
  isWatching.value = false;
}

export function retryNow() {
  failures = 0;
  wake?.();
}

// Nothing of a patient stays in the page when nobody is logged in.
export function forget() {
  abort?.abort();
  wake?.();
  waiting = [];
  rows.value = {};
  items.value = {};
  health.value = null;
  hasBoard.value = false;
  lastHeard.value = 0;
  lastId = '';
}

addEventListener('online', retryNow);
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible' && !isLive.value) {
    abort?.abort();
    retryNow();
  }
});
