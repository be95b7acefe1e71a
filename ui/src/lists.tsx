// lists.tsx -- lists for rounds and hand-over (steps 17 and 18): situation, background, assessment
// filled by the machine, the recommendation a draft until a person confirms it.
import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import { api, mayAct, me } from './api';
import { clock, sbarText, type Sbar } from './logic';
import { ordered } from './live';
import { asking, Failure, go, Heading, Link, Loading, News2, Risk, useFetched } from './ui';
import type { Row } from './types';

type Listing = { id: number; name: string; count: number };
type Full = { id: number; name: string; patients: { row: Row; sbar?: Sbar }[] };

const copied = signal('');

async function copy(text: string, what: string) {
  try {
    await navigator.clipboard.writeText(text);
    copied.value = `${what} copied.`;
  } catch {
    copied.value = 'The browser does not allow copying: select the text by hand.';
  }
  setTimeout(() => { copied.value = ''; }, 4000);
}

function Entry({ row, sbar, remove }: { row: Row; sbar?: Sbar; remove: () => void }) {
  const [confirmed, setConfirmed] = useState<{ by: string; for: string } | null>(null);
  // What was confirmed is a text: when the draft changes it must be confirmed again.
  const isConfirmed = !!sbar && confirmed?.for === sbar.recommendation;
  return (
    <li class="card sbar-card" data-testid="list-patient" data-patient={row.patientId}>
      <div class="who">
        <h2>{mayAct() ? <Link to={`/patient/${encodeURIComponent(row.patientId)}`}>{row.name}</Link> : row.name}</h2>
        <p class="bed">{row.location}</p>
        <div class="scores"><News2 row={row} /><Risk risk={row.risk} band={row.riskBand} time={row.time} /></div>
        {mayAct() && <button type="button" onClick={remove} aria-label={`Remove ${row.name} from the list`}>Remove</button>}
      </div>
      {sbar && (
        <div>
          <dl class="sbar">
            <dt>Situation</dt><dd>{sbar.situation}</dd>
            <dt>Background</dt><dd>{sbar.background}</dd>
            <dt>Assessment</dt><dd>{sbar.assessment}</dd>
            <dt>Recommendation</dt><dd>{sbar.recommendation} {isConfirmed ? <span class="state">confirmed by {confirmed!.by}</span> : <strong class="draft">Draft: to be confirmed by a clinician</strong>}</dd>
          </dl>
          <div class="work-buttons">
            <label class="check"><input type="checkbox" checked={isConfirmed} onChange={(e) => setConfirmed(e.currentTarget.checked ? { by: `${me.value?.user.display || me.value?.user.name} at ${clock(Date.now())}`, for: sbar.recommendation } : null)} /> I confirm this recommendation</label>
            <button type="button" data-testid="copy-sbar" onClick={() => copy(sbarText(sbar, isConfirmed ? confirmed!.by : null), 'SBAR text')}>Copy SBAR text</button>
          </div>
        </div>
      )}
    </li>
  );
}

function OneList({ id }: { id: string }) {
  const { data, error, reload } = useFetched(id, () => api<Full>('GET', `/lists/${id}`, { isBackground: true }), 30_000);
  const [adding, setAdding] = useState('');
  if (!data) return error ? <Failure text={error} retry={reload} /> : <Loading what="the list" />;
  const put = async (patientId: string, member: boolean) => {
    await api('POST', `/lists/${id}/patients`, { body: { patientId, member } });
    reload();
  };
  const others = ordered.value.filter((row) => !data.patients.some((p) => p.row.patientId === row.patientId));
  return (
    <section aria-labelledby="list-head">
      <h2 id="list-head">{data.name} <span class="muted">{data.patients.length} patients</span></h2>
      {error && <Failure text={error} retry={reload} />}
      {mayAct() && (
        <form class="filters" onSubmit={(e) => { e.preventDefault(); if (adding) void put(adding, true).then(() => setAdding('')); }}>
          <label>Add a patient <select value={adding} data-testid="list-add" onChange={(e) => setAdding(e.currentTarget.value)}>
            <option value="">choose…</option>
            {others.map((row) => <option key={row.patientId} value={row.patientId}>{row.location} · {row.name}</option>)}
          </select></label>
          <button type="submit" disabled={!adding}>Add</button>
        </form>
      )}
      {data.patients.length === 0 && <p class="empty">Nobody is on this list.</p>}
      <ol class="board">{data.patients.map(({ row, sbar }) => (
        <Entry key={row.patientId} row={row} sbar={sbar} remove={() => {
          asking.value = { title: 'Remove from the list?', confirm: 'Remove', children: <p class="whois"><b>{row.name}</b> · {row.location}</p>, act: () => put(row.patientId, false) };
        }} />
      ))}</ol>
    </section>
  );
}

export function Lists({ id }: { id: string }) {
  const { data, error, reload } = useFetched(`lists ${id}`, () => api<{ lists: Listing[] }>('GET', '/lists', { isBackground: true }));
  return (
    <>
      <div class="page-head">
        <Heading>Patient lists</Heading>
        {mayAct() && <button type="button" class="primary" data-testid="list-make" onClick={() => {
          asking.value = {
            title: 'New list', confirm: 'Make list', children: null, field: { label: 'Name', name: 'name' },
            act: async (name) => {
              const made = await api<{ id: number }>('POST', '/lists', { body: { name } });
              go(`/lists/${made.id}`);
            },
          };
        }}>New list…</button>}
      </div>
      <p class="sr" role="status">{copied.value}</p>
      {copied.value && <p class="toast" aria-hidden="true">{copied.value}</p>}
      {error && <Failure text={error} retry={reload} />}
      {!data && !error && <Loading what="the lists" />}
      <div class="with-side">
        {data && (
          <nav aria-label="Lists" class="side-nav">
            {data.lists.length === 0 && <p class="empty">No list yet.</p>}
            <ul>{data.lists.map((list) => <li key={list.id}><Link to={`/lists/${list.id}`} aria-current={String(list.id) === id ? 'page' : undefined}>{list.name} <span class="muted">{list.count}</span></Link></li>)}</ul>
          </nav>
        )}
        {id ? <OneList key={id} id={id} /> : data && data.lists.length > 0 && <p class="empty">Choose a list.</p>}
      </div>
    </>
  );
}
