// ui.tsx -- the small parts that every page is made of.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { signal } from '@preact/signals';
import { age, bandLevel, dayClock, isScoreOld, news2Text, percent, plainUnits, sparkPath } from './logic';
import { now } from './live';
import type { Flag, Item, Point, Row } from './types';

// ---- addresses ----

export const path = signal(location.pathname);
export function go(to: string) {
  history.pushState(null, '', to);
  path.value = to;
  scrollTo(0, 0);
}
addEventListener('popstate', () => { path.value = location.pathname; });

export function Link({ to, children, ...rest }: { to: string; children: ComponentChildren; class?: string; 'data-testid'?: string; 'aria-current'?: 'page' | undefined }) {
  return (
    <a href={to} {...rest} onClick={(event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      go(to);
    }}>{children}</a>
  );
}

// The page's heading takes the focus when the page was changed, so that a screen reader starts there.
export function Heading({ children, title }: { children: ComponentChildren; title?: string }) {
  const ref = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title ?? (typeof children === 'string' ? children : 'Patient')} – Vigil`;
    ref.current?.focus({ preventScroll: true });
  }, []);
  return <h1 ref={ref} tabIndex={-1}>{children}</h1>;
}

export const Age = ({ time }: { time: string | number | null | undefined }) =>
  time === null || time === undefined ? <span>–</span>
    : <time dateTime={new Date(time).toISOString()} title={dayClock(time)}>{age(time, now.value)}</time>;

// ---- NEWS2, risk, flags: always digit or icon, and word, and colour last ----

const NEWS_WORDS: Record<string, string> = { low: 'low', 'low-medium': 'low–medium', medium: 'medium', high: 'high' };
const ARROWS: Record<string, [string, string]> = { up: ['↑', 'rising'], down: ['↓', 'falling'], steady: ['→', 'steady'] };

export function News2({ row }: { row: Pick<Row, 'news2' | 'trend' | 'time'> }) {
  const n = row.news2;
  if (!n) return <div class="news none"><span class="news-digit">–</span><span class="news-word">no score</span></div>;
  if (isScoreOld(row.time, now.value))
    return <div class="news none" data-testid="news-old"><span class="news-digit"><s>{news2Text(n)}</s></span><span class="news-word">old, no new values</span></div>;
  const arrow = ARROWS[row.trend] ?? ARROWS.steady;
  return (
    <div class={`news fill${bandLevel(n.band)}`}>
      <span class="news-digit">{news2Text(n)}</span>
      <span class="news-word">{NEWS_WORDS[n.band] ?? n.band}</span>{' '}
      <span class="news-trend" title={`NEWS2 ${arrow[1]}`}><span aria-hidden="true">{arrow[0]}</span><span class="sr">{arrow[1]}</span></span>
      {!n.complete && <span class="news-note">parts missing</span>}
    </div>
  );
}

export const Score = ({ score, label }: { score: number; label?: string }) =>
  <span class={`score fill${Math.min(3, Math.max(0, score))}`}>{score}<span class="sr"> points{label ? ` ${label}` : ''}</span></span>;

export function Risk({ risk, band, time }: { risk: number | null; band: string | null; time: string }) {
  if (risk !== null && isScoreOld(time, now.value)) return <div class="risk"><span class="risk-value"><s>{percent(risk)}</s></span><span class="risk-word">old</span></div>;
  return (
    <div class="risk">
      <span class="risk-value">{percent(risk)}</span>
      <span class="risk-word">{risk === null ? 'no model score' : `${band ?? ''} risk`}</span>
      <span class="risk-bar" aria-hidden="true"><span class={`risk-fill risk-${band ?? 'none'}`} style={{ width: `${Math.min(100, (risk ?? 0) * 100)}%` }} /></span>
    </div>
  );
}

const Triangle = () => <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M8 1.5 15.2 14.5H.8z" fill="currentColor" /><path d="M8 6v4M8 11.6v1.4" stroke="var(--surface)" stroke-width="1.7" /></svg>;
const Diamond = () => <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M8 .8 15.2 8 8 15.2.8 8z" fill="none" stroke="currentColor" stroke-width="1.8" /><path d="M8 4.4v4.4M8 10.2v1.6" stroke="currentColor" stroke-width="1.7" /></svg>;

export const Severity = ({ severity }: { severity: string }) =>
  <span class={`severity severity-${severity}`}>{severity === 'high' ? <Triangle /> : <Diamond />}<b>{severity === 'high' ? 'HIGH' : severity.toUpperCase()}</b></span>;

export function FlagBadge({ flag, item }: { flag: Flag; item?: { state: string; assignee: string | null } | null }) {
  return (
    <div class={`flag flag-${flag.severity}`} data-testid="flag-badge">
      <div class="flag-head"><Severity severity={flag.severity} /> <span class="muted">for <Age time={flag.since ?? flag.opened} /></span></div>
      <div class="flag-title">{plainUnits(flag.title)}</div>
      {item && <div class="flag-state">{stateText(item.state)}{item.assignee ? ` · ${item.assignee}` : ''}</div>}
    </div>
  );
}

export const stateText = (state: string) => ({
  open: 'Not acknowledged', acknowledged: 'Acknowledged', assigned: 'Assigned', escalated: 'Escalated', resolved: 'Resolved',
} as Record<string, string>)[state] ?? state;

// ---- sparkline ----

export function Spark({ points, width = 84, height = 22 }: { points: Point[] | undefined; width?: number; height?: number }) {
  if (!points || points.length < 2) return <svg class="spark" width={width} height={height} aria-hidden="true" />;
  const last = points[points.length - 1];
  const values = points.map((p) => p[1]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const y = high > low ? height - 3 - ((last[1] - low) / (high - low)) * (height - 6) + 0 : height / 2;
  return (
    <svg class="spark" viewBox={`-3 -3 ${width + 6} ${height + 6}`} width={width} height={height} aria-hidden="true" preserveAspectRatio="none">
      <path d={sparkPath(points, width, height)} fill="none" stroke="currentColor" stroke-width="1.6" vector-effect="non-scaling-stroke" />
      <circle cx={width} cy={high > low ? height - ((last[1] - low) / (high - low)) * height : y} r="2.4" fill="currentColor" />
    </svg>
  );
}

// ---- messages ----

export const Failure = ({ text, retry }: { text: string; retry?: () => void }) =>
  <div class="failure" role="alert"><p>{text}</p>{retry && <button type="button" onClick={retry}>Try again</button>}</div>;

export const Loading = ({ what }: { what: string }) => <p class="loading" role="status">Loading {what}…</p>;

// Fetches, again every `everyMs`; what is shown belongs to `key` and to nothing before it.
export function useFetched<T>(key: string, get: () => Promise<T>, everyMs = 0): { data: T | null; error: string; reload: () => void } {
  const [state, setState] = useState<{ key: string; data: T | null; error: string }>({ key, data: null, error: '' });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let isCurrent = true;
    const load = () => get().then(
      (data) => isCurrent && setState({ key, data, error: '' }),
      (error) => isCurrent && setState((old) => ({ key, data: old.key === key ? old.data : null, error: (error as Error).message })));
    void load();
    const timer = everyMs ? setInterval(load, everyMs) : undefined;
    return () => {
      isCurrent = false;
      clearInterval(timer);
    };
  }, [key, turn]);
  const isSame = state.key === key;
  return { data: isSame ? state.data : null, error: isSame ? state.error : '', reload: () => setTurn(turn + 1) };
}

// ---- dialogs ----

export type Ask = {
  title: string; confirm: string; children: ComponentChildren;
  field?: { label: string; name: string; isLong?: boolean; isOptional?: boolean; value?: string };
  act: (text: string) => Promise<void>;
};
export const asking = signal<Ask | null>(null);

// One native dialog for every question: focus, Escape and the rest of the page are the browser's work.
export function Asker() {
  const ref = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState('');
  const [error, setError] = useState('');
  const [isBusy, setBusy] = useState(false);
  const ask = asking.value;
  useEffect(() => {
    if (!ask) return;
    setText(ask.field?.value ?? '');
    setError('');
    setBusy(false);
    const opener = document.activeElement as HTMLElement | null;
    ref.current?.showModal();
    return () => { if (opener?.isConnected) opener.focus(); };
  }, [ask]);
  if (!ask) return null;
  const submit = async (event: Event) => {
    event.preventDefault();
    if (ask.field && !ask.field.isOptional && !text.trim()) {
      setError(`${ask.field.label} is needed.`);
      return;
    }
    setBusy(true);
    try {
      await ask.act(text.trim());
      asking.value = null;
    } catch (failure) {
      setError((failure as Error).message);
      setBusy(false);
    }
  };
  return (
    <dialog ref={ref} aria-labelledby="ask-title" onClose={() => { asking.value = null; }}>
      <form onSubmit={submit}>
        <h2 id="ask-title">{ask.title}</h2>
        {ask.children}
        {ask.field && (
          <label class="field">{ask.field.label}
            {ask.field.isLong
              ? <textarea name={ask.field.name} rows={4} maxLength={2000} value={text} data-testid="dialog-text" onInput={(e) => setText(e.currentTarget.value)} />
              : <input name={ask.field.name} maxLength={100} value={text} autoComplete="off" data-testid="dialog-text" onInput={(e) => setText(e.currentTarget.value)} />}
          </label>
        )}
        {error && <p class="error" role="alert">{error}</p>}
        <div class="dialog-buttons">
          <button type="button" onClick={() => { asking.value = null; }}>Cancel</button>
          <button type="submit" class="primary" disabled={isBusy} data-testid="dialog-confirm">{ask.confirm}</button>
        </div>
      </form>
    </dialog>
  );
}

// Who this is about, in every dialog and page: name, identifier, born, place.
export const WhoIs = ({ row, item }: { row?: Row; item?: Item }) => (
  <p class="whois">
    <b>{row?.name ?? item?.name}</b>
    {row?.identifier && <span> · {row.identifier}</span>}
    {row?.ageYears !== undefined && <span> · {row.ageYears} y</span>}
    <span> · {row?.location ?? item?.location}</span>
  </p>
);
