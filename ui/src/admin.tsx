// admin.tsx -- what did not go through: cards (step 18) and dead letters.
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
