// main.tsx -- the page around the pages: login, navigation, and the one thing that must never be
// overlooked: whether what is shown is live.
import { effect, untracked } from '@preact/signals';
import { render, type ComponentChildren, type VNode } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { api, endedReason, isAdmin, login, logout, mayAct, mayAdmin, me, sessionEnded, whoAmI } from './api';
import { Board } from './board';
import { Lists } from './lists';
import { announcement, forget, hasBoard, health, isLive, items, lastHeard, now, retryAt, retryNow, tick, watch } from './live';
import { clock, dayClock, duration, utcOffset } from './logic';
import { Patient } from './patient';
import { ReportPage } from './report';
import './style.css';
import { theme, toggleTheme } from './theme';
import { asking, Asker, Failure, Heading, Link, Loading, path } from './ui';
import { Worklist } from './worklist';
import type { Me } from './types';

function Login() {
  const [user, setUser] = useState('');
  const [password, setPassword] = useState('');
  const [error, setError] = useState('');
  const [isBusy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = 'Log in – Vigil';
    field.current?.focus();
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError('');
    try {
      await login(user, password);
    } catch (failure) {
      setError((failure as Error).message);
      setPassword('');
    }
    setBusy(false);
  };
  return (
    <main class="login">
      <form onSubmit={submit} aria-labelledby="login-head">
        <p class="brand"><Mark /> Vigil</p>
        <h1 id="login-head">Log in</h1>
        {endedReason.value && <p class="notice" role="status">{endedReason.value}</p>}
        {error && <p class="error" role="alert">{error}</p>}
        <label class="field">User <input ref={field} name="user" autoComplete="username" autoCapitalize="none" spellcheck={false} required value={user} data-testid="login-user" onInput={(e) => setUser(e.currentTarget.value)} /></label>
        <label class="field">Password <input type="password" name="password" autoComplete="current-password" required value={password} data-testid="login-password" onInput={(e) => setPassword(e.currentTarget.value)} /></label>
        <button type="submit" class="primary" disabled={isBusy} data-testid="login-submit">{isBusy ? 'Checking…' : 'Log in'}</button>
      </form>
    </main>
  );
}

const Mark = () => <svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><path d="M3 17h7l3-9 5 16 3.5-10 2 3H29" fill="none" stroke="currentColor" stroke-width="2.8" stroke-linejoin="round" stroke-linecap="round" /></svg>;

const PAGES: { path: string; name: string; id: string; may?: () => boolean }[] = [
  { path: '/', name: 'Board', id: 'board' },
  { path: '/worklist', name: 'Worklist', id: 'worklist' },
  { path: '/lists', name: 'Lists', id: 'lists' },
  { path: '/report', name: 'Report', id: 'report' },
  { path: '/architecture', name: 'Architecture', id: 'architecture' },
  { path: '/model', name: 'Models', id: 'model' },
  { path: '/outbox', name: 'Outbox', id: 'outbox', may: mayAdmin },
  { path: '/deadletters', name: 'Dead letters', id: 'deadletters', may: mayAdmin },
  { path: '/mappings', name: 'Mappings', id: 'mappings', may: isAdmin },
];

function Header({ user }: { user: Me['user'] }) {
  const waiting = Object.values(items.value).filter((item) => item.state === 'open' || item.state === 'escalated').length;
  const here = path.value;
  return (
    <header class="top">
      <Link to="/" class="brand"><Mark /> Vigil</Link>
      <nav aria-label="Pages"><ul>{PAGES.filter((p) => !p.may || p.may()).map((p) => (
        <li key={p.id}><Link to={p.path} data-testid={`nav-${p.id}`} aria-current={(p.path === '/' ? here === '/' : here.startsWith(p.path)) ? 'page' : undefined}>
          {p.name}{p.id === 'worklist' && waiting > 0 && <span class="count">{waiting}<span class="sr"> not acknowledged</span></span>}
        </Link></li>
      ))}</ul></nav>
      <div class="top-right">
        <span class={`live ${isLive.value ? 'is-live' : 'not-live'}`} data-testid="live-state">{isLive.value ? '● Live' : '○ Not live'}</span>
        <time class="clock" dateTime={new Date(now.value).toISOString()} title={`${dayClock(now.value)} ${utcOffset()}`}>{clock(now.value, true)}</time>
        <button type="button" class="quiet" onClick={toggleTheme} aria-label={`Switch to ${theme.value === 'dark' ? 'light' : 'dark'} theme`}>{theme.value === 'dark' ? '☀' : '☾'}</button>
        <span class="user" title={user.role}>{user.display || user.name}</span>
        <button type="button" class="quiet" data-testid="logout" onClick={() => { void logout(); }}>Log out</button>
      </div>
    </header>
  );
}

// What stays at the top says how high it is, for what stays below it.
function Top({ children }: { children: ComponentChildren }) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const observer = new ResizeObserver(() => document.documentElement.style.setProperty('--top', `${ref.current?.offsetHeight ?? 0}px`));
    observer.observe(ref.current!);
    return () => observer.disconnect();
  }, []);
  return <div class="stays" ref={ref}>{children}</div>;
}

function NotLive() {
  if (isLive.value || (!hasBoard.value && !lastHeard.value && !retryAt.value)) return null;
  const seconds = Math.max(0, Math.ceil((retryAt.value - tick.value) / 1000));
  return (
    <div class="not-live-banner" role="alert" data-testid="not-live">
      <b>NOT LIVE.</b> {lastHeard.value ? `Nothing heard from the server since ${clock(lastHeard.value, true)}.` : 'The server cannot be reached.'} What you see may be out of date. Look at the patient.
      {' '}<button type="button" onClick={retryNow}>Try now</button>{seconds > 0 && <span aria-hidden="true"> next try in {seconds} s</span>}
    </div>
  );
}

function HealthBanner() {
  const state = health.value;
  if (!state || (state.ok && state.troubles.length === 0)) return null;
  return (
    <details class="health-banner" data-testid="health-banner" open={!state.ok}>
      <summary><b>{state.troubles.length === 1 ? 'A part of Vigil has trouble' : `${state.troubles.length} parts of Vigil have trouble`}:</b> {state.troubles.map((t) => t.area).join(', ')}</summary>
      <ul>{state.troubles.map((t) => <li key={t.code + t.area}><b>{t.area}</b> {t.text} <span class="muted">({t.code}{t.since ? `, since ${clock(t.since)}` : ''})</span></li>)}</ul>
    </details>
  );
}

// The session ends when nobody does anything: said a minute before, and one key keeps it.
function Idle({ seconds }: { seconds: number }) {
  const [left, setLeft] = useState(seconds);
  const last = useRef({ active: Date.now(), told: Date.now() });
  const dialog = useRef<HTMLDialogElement>(null);
  const isWarning = left <= 60;
  const stay = () => {
    last.current.active = last.current.told = Date.now();
    setLeft(seconds);
    void api<Me>('GET', '/me').catch(() => undefined); // a 401 has already ended the session
  };
  useEffect(() => {
    const onActivity = () => {
      if (dialog.current?.open) return;
      last.current.active = Date.now();
      if (Date.now() - last.current.told > 60_000) stay();
    };
    const timer = setInterval(() => {
      const rest = Math.round(seconds - (Date.now() - last.current.active) / 1000);
      setLeft(rest);
      if (rest <= 0) {
        void api('POST', '/logout', { isBackground: true }).catch(() => undefined); // its own end is near
        sessionEnded(`You were logged out after ${duration(seconds * 1000)} without activity.`);
      }
    }, 1000);
    addEventListener('pointerdown', onActivity);
    addEventListener('keydown', onActivity);
    return () => {
      clearInterval(timer);
      removeEventListener('pointerdown', onActivity);
      removeEventListener('keydown', onActivity);
    };
  }, [seconds]);
  useEffect(() => {
    if (isWarning) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isWarning]);
  return (
    <dialog ref={dialog} aria-labelledby="idle-title" onCancel={stay}>
      <h2 id="idle-title">Still there?</h2>
      <p>You will be logged out in {Math.max(0, left)} s.</p>
      <div class="dialog-buttons"><button type="button" class="primary" onClick={stay}>Stay logged in</button></div>
    </dialog>
  );
}

// What few open is loaded when it is opened.
function Later({ load, what }: { load: () => Promise<() => VNode>; what: string }) {
  const [state, setState] = useState<{ Shown?: () => VNode; error?: string }>({});
  const get = () => { load().then((Shown) => setState({ Shown }), () => setState({ error: 'It could not be loaded. If that stays so, load the whole page again.' })); };
  useEffect(get, []);
  if (state.Shown) return <state.Shown />;
  return <><Heading>{what}</Heading>{state.error ? <Failure text={state.error} retry={get} /> : <Loading what={what.toLowerCase()} />}</>;
}

function Page() {
  const [, first, second] = path.value.split('/').map(decodeURIComponent);
  if (!first) return <Board />;
  if (first === 'patient' && second && mayAct()) return <Patient id={second} />;
  if (first === 'worklist') return <Worklist />;
  if (first === 'lists') return <Lists id={second ?? ''} />;
  if (first === 'report') return <ReportPage />;
  if (first === 'architecture') return <Later key="architecture" what="Architecture" load={() => import('./architecture').then((m) => m.Architecture)} />;
  if (first === 'model') return <Later key="model" what="Models" load={() => import('./models').then((m) => m.Models)} />;
  if (first === 'outbox' && mayAdmin()) return <Later key="outbox" what="Outbox" load={() => import('./admin').then((m) => m.Outbox)} />;
  if (first === 'deadletters' && mayAdmin()) return <Later key="deadletters" what="Dead letters" load={() => import('./admin').then((m) => m.DeadLetters)} />;
  if (first === 'mappings' && isAdmin()) return <Later key="mappings" what="Mapping workbench" load={() => import('./workbench').then((m) => m.Workbench)} />;
  return <><Heading>Not found</Heading><p>There is no such page, or your role may not see it. <Link to="/">To the board</Link></p></>;
}

function App() {
  if (me.value === undefined) return <main class="login"><p role="status">Loading…</p></main>;
  if (!me.value) return <Login />;
  const wide = path.value === '/' || path.value === '/mappings' ? 'wide' : '';
  return (
    <>
      <a class="skip" href="#content" onClick={(e) => { e.preventDefault(); (document.querySelector('main h1') as HTMLElement | null)?.focus(); }}>To the content</a>
      <Top><NotLive /><Header user={me.value.user} /></Top>
      <HealthBanner />
      <main id="content" class={`${wide} ${hasBoard.value && !isLive.value ? 'quiet-page' : ''}`} key={path.value}><Page /></main>
      <p class="sr" aria-live="polite">{announcement.value}</p>
      <Asker />
      {!!me.value.idleSeconds && <Idle seconds={me.value.idleSeconds} />}
    </>
  );
}

effect(() => {
  const isIn = !!me.value;
  untracked(() => {
    if (isIn) {
      void watch();
    } else {
      asking.value = null;
      forget();
    }
  });
});
void whoAmI();
render(<App />, document.getElementById('app')!);
