// admin.tsx -- what did not go through: cards (step 18) and dead letters; and the model card.
import { useState } from 'preact/hooks';
import { api } from './api';
import { dayClock } from './logic';
import { Age, Failure, Heading, Loading, useFetched } from './ui';

type Card = { id: number; target: string; title: string; state: string; attempts: number; time: string; why?: string };
export function Outbox() {
  const { data, error, reload } = useFetched('outbox', () => api<{ cards: Card[] }>('GET', '/outbox', { isBackground: true }), 5000);
  return (
    <>
      <div class="page-head"><Heading>Outbox</Heading><p class="muted">Cards for Teams, chats and webhooks. A card that failed stays here.</p></div>
      {error && <Failure text={error} retry={reload} />}
      {!data ? !error && <Loading what="the outbox" /> : data.cards.length === 0 ? <p class="empty">No card has been written.</p> : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Cards"><table>
          <caption class="sr">Cards, newest first</caption>
          <thead><tr><th scope="col">Written</th><th scope="col">Target</th><th scope="col">Card</th><th scope="col">State</th><th scope="col">Attempts</th><th scope="col">Why</th></tr></thead>
          <tbody>{data.cards.map((card) => <tr key={card.id}><td>{dayClock(card.time)}</td><td>{card.target}</td><th scope="row">{card.title}</th><td><span class={`state card-${card.state}`}>{card.state}</span></td><td>{card.attempts}</td><td>{card.why ?? ''}</td></tr>)}</tbody>
        </table></div>
      )}
    </>
  );
}

type Letter = { id: string; stage: string; reason: string; text: string; topic: string; partition: number; seq: number; time: string; key: string; payload: string; payloadEncoding: string };
export function DeadLetters() {
  const { data, error, reload } = useFetched('letters', () => api<{ letters: Letter[] }>('GET', '/deadletters?count=100', { isBackground: true }), 15_000);
  const [said, say] = useState('');
  const replay = async (letter: Letter) => {
    try {
      await api('POST', `/deadletters/${letter.id}/replay`, { body: {} });
      say(`The message of ${letter.key} takes the whole way again.`);
      reload();
    } catch (failure) {
      say((failure as Error).message);
    }
  };
  return (
    <>
      <div class="page-head"><Heading>Dead letters</Heading><p class="muted">What could not be processed, newest first. Mend the cause (the mapping, the patient's link), then try again.</p></div>
      <p role="status" aria-live="polite">{said}</p>
      {error && <Failure text={error} retry={reload} />}
      {!data ? !error && <Loading what="the dead letters" /> : data.letters.length === 0 ? <p class="empty">None: everything that came could be processed.</p> : (
        <ol class="letters">{data.letters.map((l) => (
          <li key={l.id} class="card">
            <div><b>{l.reason}</b> <span class="muted">{l.stage} · {l.topic} {l.partition}-{l.seq} · from {l.key} · <Age time={l.time} /> ago</span></div>
            <p>{l.text}</p>
            <button type="button" data-testid="replay-button" onClick={() => void replay(l)}>Try again<span class="sr"> the message of {l.key}</span></button>
            <details><summary>Payload</summary><pre tabIndex={0} role="region" aria-label="Payload">{l.payload}</pre>{l.payloadEncoding === 'base64' && <p class="muted">base64</p>}</details>
          </li>
        ))}</ol>
      )}
    </>
  );
}

// ---- the model card: whatever it holds, in the order in which it was written ----

const words = (name: string) => name.replace(/([a-z0-9])([A-Z])/g, '$1 $2').replace(/[_-]/g, ' ').replace(/^./, (c) => c.toUpperCase());
const plain = (value: unknown): string => (value === null ? '–' : typeof value === 'number' ? String(Number(value.toPrecision(6))) : typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value));
const isPlain = (value: unknown) => value === null || typeof value !== 'object';

function Value({ value, level, name }: { value: unknown; level: number; name: string }) {
  if (isPlain(value)) return <p>{plain(value)}</p>;
  if (Array.isArray(value)) {
    if (value.every(isPlain)) return <ul>{value.map((v, i) => <li key={i}>{plain(v)}</li>)}</ul>;
    const columns = [...new Set(value.flatMap((v) => (isPlain(v) ? [] : Object.keys(v as object))))];
    if (value.every((v) => !isPlain(v) && !Array.isArray(v) && Object.values(v as object).every(isPlain)))
      return (
        <div class="scroll" tabIndex={0} role="region" aria-label={words(name)}><table><caption class="sr">{words(name)}</caption>
          <thead><tr>{columns.map((c) => <th key={c} scope="col">{words(c)}</th>)}</tr></thead>
          <tbody>{value.map((v, i) => <tr key={i}>{columns.map((c) => <td key={c}>{c in (v as object) ? plain((v as Record<string, unknown>)[c]) : ''}</td>)}</tr>)}</tbody></table></div>
      );
    return <ol>{value.map((v, i) => <li key={i}><Value value={v} level={level} name={name} /></li>)}</ol>;
  }
  const entries = Object.entries(value as object);
  const simple = entries.filter(([, v]) => isPlain(v));
  const Head = `h${Math.min(6, level)}` as 'h2';
  return (
    <>
      {simple.length > 0 && <dl class="facts">{simple.map(([k, v]) => <div key={k}><dt>{words(k)}</dt><dd>{plain(v)}</dd></div>)}</dl>}
      {entries.filter(([, v]) => !isPlain(v)).map(([k, v]) => <section key={k}><Head>{words(k)}</Head><Value value={v} level={level + 1} name={k} /></section>)}
    </>
  );
}

interface Model { folder: string; name?: string; version?: string; digest?: string; mode: string; elsewhere?: string; units?: string[]; engine?: string; trouble?: string; card?: Record<string, unknown> }

const MODES: Record<string, string> = { absent: 'does not run', silent: 'recorded, shown to nobody', show: 'shown on the board', flag: 'shown, and raises Flags' };

/** Which models run here and how, and what each one's card says. */
export function ModelCard() {
  const { data, error, reload } = useFetched('models', () => api<{ models: Model[] }>('GET', '/models', { isBackground: true }));
  return (
    <>
      <div class="page-head"><Heading>Models</Heading><p class="muted">What runs here, what each model is, what it was made from, how well it does, where it must not be used.</p></div>
      {error && <Failure text={error} retry={reload} />}
      {!data && !error && <Loading what="the models" />}
      {data?.models.length === 0 && <p>No model runs: NEWS2 alone.</p>}
      {data?.models.map((m) => (
        <div class="model-card" key={m.folder}>
          <h2>{m.name ?? m.folder}{m.version && ` version ${m.version}`}</h2>
          {m.trouble && <p role="alert"><strong>Its newest files are not in use:</strong> {m.trouble}</p>}
          <dl class="facts">
            <div><dt>Use</dt><dd>{MODES[m.mode] ?? m.mode}{m.units && ` in ${m.units.join(', ')}; elsewhere ${MODES[m.elsewhere ?? ''] ?? ''}`}</dd></div>
            {m.engine && <div><dt>Engine</dt><dd>{m.engine}</dd></div>}
            {m.digest && <div><dt>Digest</dt><dd><code>{m.digest}</code></dd></div>}
          </dl>
          {m.card && <details open={m.mode !== 'silent'}><summary>Card</summary><Value value={m.card} level={3} name="model" /></details>}
        </div>
      ))}
    </>
  );
}
