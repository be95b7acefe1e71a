// architecture.tsx -- the reference picture, live: eighteen numbered steps on four coloured paths.
// The picture shows, the table below says the same in words; a traced message lights up its steps.
import { signal } from '@preact/signals';
import { api, mayAct } from './api';
import { age, ageMs, clock } from './logic';
import { now } from './live';
import { Failure, Heading, useFetched } from './ui';
import type { Step, Trace } from './types';

const chosen = signal(0);
const traceId = signal('');
const trace = signal<Trace | null>(null);
const traceError = signal('');

type Box = { x: number; y: number; w: number; h: number; lines: string[]; store?: boolean };
const BOXES: Box[] = [
  { x: 16, y: 56, w: 112, h: 60, lines: ['Devices'] },
  { x: 196, y: 56, w: 112, h: 60, lines: ['Edge', 'gateway'] },
  { x: 376, y: 56, w: 112, h: 60, lines: ['Hub'] },
  { x: 376, y: 176, w: 112, h: 56, lines: ['Raw archive'], store: true },
  { x: 584, y: 56, w: 128, h: 60, lines: ['Connector'] },
  { x: 968, y: 56, w: 136, h: 60, lines: ['FHIR service'], store: true },
  { x: 584, y: 250, w: 128, h: 60, lines: ['ML input', 'enrich'] },
  { x: 296, y: 330, w: 128, h: 60, lines: ['Event hub', 'enriched'] },
  { x: 40, y: 330, w: 128, h: 60, lines: ['Data lake'], store: true },
  { x: 296, y: 486, w: 128, h: 60, lines: ['Score', 'windows, model'] },
  { x: 584, y: 486, w: 128, h: 60, lines: ['ML output', 'alert'] },
  { x: 800, y: 330, w: 128, h: 60, lines: ['Repository', 'SQL'], store: true },
  { x: 1010, y: 214, w: 150, h: 50, lines: ['Live board'] },
  { x: 1010, y: 335, w: 150, h: 50, lines: ['Ward report'] },
  { x: 1010, y: 426, w: 150, h: 50, lines: ['Care team app'] },
  { x: 1010, y: 526, w: 150, h: 50, lines: ['Coordination', 'chat, cards, lists'] },
];
// Each step: its path on the picture and where its number stands.
const EDGES: { step: number; d: string; x: number; y: number; label?: 'left' | 'right' }[] = [
  { step: 1, d: 'M128 70H186', x: 156, y: 70 },
  { step: 2, d: 'M308 86H366', x: 338, y: 86 },
  { step: 3, d: 'M432 116V166', x: 432, y: 140, label: 'right' },
  { step: 4, d: 'M488 86H574', x: 534, y: 86 },
  { step: 5, d: 'M712 86H958', x: 836, y: 86 },
  { step: 6, d: 'M648 116V240', x: 648, y: 178, label: 'right' },
  { step: 7, d: '', x: 712, y: 280, label: 'right' },
  { step: 8, d: 'M584 280H360V320', x: 440, y: 280 },
  { step: 9, d: 'M296 360H178', x: 234, y: 360 },
  { step: 10, d: 'M360 390V476', x: 360, y: 430, label: 'right' },
  { step: 11, d: 'M104 400V516H286', x: 180, y: 516 },
  { step: 12, d: 'M424 516H574', x: 500, y: 516 },
  { step: 13, d: 'M690 486V440H790V196H1036V126', x: 912, y: 196 },
  { step: 14, d: 'M712 516H864V400', x: 800, y: 516 },
  { step: 15, d: 'M928 345H958V239H1000', x: 958, y: 292, label: 'right' },
  { step: 16, d: 'M928 360H1000', x: 978, y: 360 },
  { step: 17, d: 'M928 375H958V451H1000', x: 958, y: 418, label: 'right' },
  { step: 18, d: 'M1085 476V516', x: 1085, y: 494, label: 'right' },
];
const PATHS: [string, string, string][] = [
  ['blue', '1–5', 'from the device to the record'],
  ['green', '6–11', 'to the score'],
  ['red', '12–15', 'to the alert and the board'],
  ['orange', '16–18', 'to the care team'],
];

const rate = (value: number) => (value >= 1000 ? `${(value / 1000).toFixed(1)}k/s` : value >= 10 ? `${Math.round(value)}/s` : value > 0 ? `${value.toFixed(1)}/s` : 'idle');
const millis = (ms: number) => (ms >= 10_000 ? `${(ms / 1000).toFixed(0)} s` : ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`);
const after = (ms: number) => (ms < 0 ? `−${millis(-ms)}` : `+${millis(ms)}`); // a gateway had it before its receipt here
const hasError = (step: Step, at: number) => !!step.error && ageMs(step.errorTime, at) < 5 * 60_000;

function Picture({ steps }: { steps: Step[] }) {
  const reached = new Map<number, { ms?: number; time?: string }>();
  for (const line of trace.value?.steps ?? []) if (line.time && !reached.has(line.step)) reached.set(line.step, line);
  return (
    <svg class={`picture ${trace.value ? 'tracing' : ''}`} viewBox="0 24 1176 560" role="img" aria-labelledby="picture-title" aria-describedby="steps-table">
      <title id="picture-title">The eighteen steps from the device to the care team. The table below gives each step's numbers.</title>
      <defs>{PATHS.map(([name]) => <marker key={name} id={`arrow-${name}`} viewBox="0 0 8 8" refX="6" refY="4" markerUnits="userSpaceOnUse" markerWidth="12" markerHeight="12" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" class={`arrow-${name}`} /></marker>)}</defs>
      {EDGES.map((edge) => {
        const step = steps[edge.step - 1];
        const isLit = reached.has(edge.step);
        if (!edge.d) return null; // 7 happens inside its box
        return <path key={edge.step} d={edge.d} class={`edge edge-${step.path} ${isLit ? 'lit' : ''}`} marker-end={`url(#arrow-${step.path})`} marker-start={edge.step === 5 || edge.step === 11 ? `url(#arrow-${step.path})` : undefined} />;
      })}
      {BOXES.map((box) => (
        <g key={box.lines.join()}>
          <rect x={box.x} y={box.y} width={box.w} height={box.h} rx={box.store ? 18 : 6} class={box.store ? 'box store' : 'box'} />
          {box.lines.map((line, i) => <text key={line} x={box.x + box.w / 2} y={box.y + box.h / 2 + (box.lines.length > 1 ? (i ? 15 : -2) : 5)} class={i ? 'box-sub' : 'box-text'}>{line}</text>)}
        </g>
      ))}
      {EDGES.map((edge) => {
        const step = steps[edge.step - 1];
        const hit = reached.get(edge.step);
        const label = trace.value ? (hit ? after(hit.ms ?? 0) : '') : rate(step.ratePerSecond);
        return (
          <g key={edge.step} class={`number number-${step.path} ${hit ? 'lit' : ''} ${chosen.value === edge.step ? 'chosen' : ''} ${hasError(step, now.value) ? 'failing' : ''}`} onClick={() => { chosen.value = edge.step; }}>
            <title>{`${edge.step}. ${step.name}`}</title>
            <circle cx={edge.x} cy={edge.y} r="13" />
            <text x={edge.x} y={edge.y + 4.5}>{edge.step}</text>
            {label && <text x={edge.label === 'right' ? edge.x + 20 : edge.x} y={edge.label === 'right' ? edge.y + 4 : edge.y - 18} class="edge-label" style={edge.label === 'right' ? { textAnchor: 'start' } : undefined}>{label}</text>}
            {hasError(step, now.value) && <text x={edge.x + 11} y={edge.y - 8} class="warn">!</text>}
          </g>
        );
      })}
    </svg>
  );
}

function Table({ steps }: { steps: Step[] }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Steps">
      <table id="steps-table" class="steps">
        <caption class="sr">The eighteen steps</caption>
        <thead><tr><th scope="col">Step</th><th scope="col">What</th><th scope="col">Path</th><th scope="col">Rate</th><th scope="col">Total</th><th scope="col">Waiting</th><th scope="col">p99</th><th scope="col">Last</th><th scope="col">Last error</th></tr></thead>
        <tbody>{steps.map((step) => (
          <tr key={step.step} class={chosen.value === step.step ? 'chosen' : ''}>
            <td><span class={`dot dot-${step.path}`}>{step.step}</span></td>
            <th scope="row">{step.name}</th>
            <td>{step.path}</td>
            <td class="num">{rate(step.ratePerSecond)}</td>
            <td class="num">{step.count.toLocaleString('en')}</td>
            <td class="num">{step.lag.toLocaleString('en')}</td>
            <td class="num">{step.p99Ms > 0 ? millis(step.p99Ms) : '–'}</td>
            <td class="num">{step.last ? age(step.last, now.value) : 'never'}</td>
            <td class={hasError(step, now.value) ? 'failing-text' : 'muted'}>{step.error ? `${step.error} (${age(step.errorTime, now.value)} ago)` : ''}</td>
          </tr>
        ))}</tbody>
      </table>
    </div>
  );
}

async function follow(id: string) {
  traceError.value = '';
  trace.value = null;
  if (id !== 'latest' && !/^\d+-\d+$/.test(id)) {
    traceError.value = 'A message’s id is PARTITION-NUMBER, as 0-4711.';
    return;
  }
  try {
    trace.value = await api<Trace>('GET', `/trace/${id}`);
    traceId.value = trace.value.id;
  } catch (error) {
    traceError.value = (error as Error).message;
  }
}

export function Architecture() {
  const { data, error, reload } = useFetched('steps', () => api<{ asOf: string; steps: Step[] }>('GET', '/steps', { isBackground: true }), 1000);
  const found = trace.value;
  return (
    <>
      <div class="page-head"><Heading>Architecture, live</Heading>
        <ul class="legend">{PATHS.map(([name, steps, what]) => <li key={name}><span class={`swatch swatch-${name}`} aria-hidden="true" /> <b>{name} {steps}</b> {what}</li>)}</ul>
        {mayAct() && (
          <form class="filters" onSubmit={(e) => { e.preventDefault(); void follow(traceId.value.trim()); }}>
            <label>Trace a message <input value={traceId.value} placeholder="0-4711" size={12} data-testid="trace-id" aria-describedby={traceError.value ? 'trace-error' : undefined} aria-invalid={!!traceError.value} onInput={(e) => { traceId.value = e.currentTarget.value; }} /></label>
            <button type="submit" class="primary" data-testid="trace-go">Trace</button>
            <button type="button" data-testid="trace-latest" onClick={() => { void follow('latest'); }}>The latest</button>
            {found && <button type="button" onClick={() => { trace.value = null; }}>Clear</button>}
          </form>
        )}
      </div>
      {traceError.value && <p class="error" role="alert" id="trace-error">{traceError.value}</p>}
      {error && <Failure text={error} retry={reload} />}
      {data && <div class="picture-frame"><Picture steps={data.steps} /></div>}
      {found && (
        <section aria-labelledby="trace-head" class="trace" data-testid="trace-result">
          <h2 id="trace-head">Message {found.id} <span class="muted">from {found.device}, received {clock(found.received, true)}</span></h2>
          {found.isWhole === false && <p class="error">The journal was too long to read to its end: later steps may be missing.</p>}
          <ol class="trace-steps">{found.steps.map((line, i) => (
            <li key={i} class={line.time ? 'reached' : 'not-reached'}>
              <span class={`dot dot-${data?.steps[line.step - 1].path}`}>{line.step}</span>
              <span><b>{line.name}</b>{line.text && <> – {line.text}</>}</span>
              <span class="num">{line.ms !== undefined ? after(line.ms) : <span class="muted">{line.text ? '' : 'not yet'}</span>}</span>
            </li>
          ))}</ol>
        </section>
      )}
      {data && <Table steps={data.steps} />}
    </>
  );
}
