// workbench.tsx -- mappings: written, tried on a message while one types, put in force, rolled back.
//
// The draft is kept in this browser (templates alone: a message is patient data and is forgotten with
// the page). The server tries it with the connector's own code; nothing is stored until it is activated.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { api, type ApiError } from './api';
import { age, dayClock } from './logic';
import { now } from './live';
import { differences, offsetOf, parseExact, pretty, templatesOf, writeExact, type Pair } from './mapping';
import { Age, asking, Failure, Heading, Loading, useFetched } from './ui';

type Texts = Pair & { version: string };
type Entry = { version: string; time: string; who: string; how: string };
type Versions = { active: string; compat: string; files: Pair; trouble: string; history: Entry[] };
type Finding = { file: keyof Pair; severity: string; line: number; column: number; text: string };
type Problem = { type: string; message: string; line: number; column: number; path: string };
type Measurement = { type: string; occurrenceTimeUtc: string; deviceId?: string; properties?: { name: string; value: string }[] };
type Tried = { version: string; findings: Finding[]; result?: { measurements: Measurement[]; observations: { code?: { text?: string } }[]; errors: Problem[]; warnings?: { message: string }[] } };
type Message = { id: string; device: string; time: string; reason?: string; payload?: string; envelope?: string };

const DRAFT = 'mapping-draft';
const WAIT_MS = 300;
const EXAMPLE = '{\n  "Body": {"time": "2026-03-14T10:00:00Z", "hr": 72},\n  "Properties": {},\n  "SystemProperties": {"iothub-connection-device-id": "bed-4", "iothub-enqueuedtime": "2026-03-14T10:00:01Z"}\n}';
const NAMES: Pair = { device: 'Device mapping', fhir: 'FHIR mapping' };
const HOW: Record<string, string> = { start: 'at the start', reload: 'from the files', workbench: 'in the workbench', rollback: 'rolled back' };

const readDraft = (): Texts | null => {
  try { return JSON.parse(localStorage.getItem(DRAFT) ?? 'null'); } catch { return null; }
};

// ---- an editor: a textarea with its line numbers and marks ----

const LINE_PX = 20;

type Mark = { line: number; column: number; severity: string };
type Area = { id: string; text: string; marks: Mark[]; isWrong?: boolean; describedBy?: string; onText: (text: string) => void };

function Code({ id, text, marks, isWrong, describedBy, onText }: Area) {
  const beside = useRef<HTMLDivElement>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const lines = text.split('\n').length;
  const numbers = useMemo(() => Array.from({ length: lines }, (_, i) => i + 1).join('\n'), [lines]);
  const follow = () => {
    beside.current?.style.setProperty('--scroll-y', `${-area.current!.scrollTop}px`);
    beside.current?.style.setProperty('--scroll-x', `${-area.current!.scrollLeft}px`);
  };
  return (
    <div class="code" ref={beside}>
      <pre class="gutter" aria-hidden="true">{numbers}</pre>
      <div class="marks" aria-hidden="true">
        {marks.filter((m) => m.line > 0).map((m, i) => <div key={i} class={`code-mark code-mark-${m.severity}`} style={{ top: `${(m.line - 1) * LINE_PX}px` }}><span style={{ left: `${m.column - 1}ch` }} /></div>)}
      </div>
      <textarea id={id} ref={area} wrap="off" spellcheck={false} autoCapitalize="none" autoComplete="off" value={text} aria-invalid={!!isWrong} aria-describedby={describedBy}
        data-testid={id} onScroll={follow} onInput={(e) => { onText(e.currentTarget.value); follow(); }} />
    </div>
  );
}

function Editor({ name, findings, problems, ...area }: Omit<Area, 'marks'> & { name: string; findings: Finding[]; problems: Mark[] }) {
  const errors = findings.filter((f) => f.severity === 'error').length;
  return (
    <section class="editor">
      <div class="editor-head">
        <label for={area.id}><h2>{name}</h2></label>
        <span class={errors ? 'bad' : 'muted'}>{errors ? `${errors} ${errors === 1 ? 'error' : 'errors'}` : findings.length ? `${findings.length} to look at` : 'no errors'}</span>
      </div>
      <Code {...area} marks={[...findings, ...problems]} isWrong={errors > 0} describedBy={`${area.id}-findings`} />
      <ul id={`${area.id}-findings`} class="findings">
        {findings.map((f, i) => (
          <li key={i} class={`finding-${f.severity}`} data-testid="finding">
            {f.line > 0 && <button type="button" onClick={() => jump(area.id, f.line, f.column)}>Line {f.line}, column {f.column}</button>} <span>{f.severity === 'warning' && <b>Warning: </b>}{f.text}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const isOfMessage = (problem: Problem) => problem.type === 'InvalidDataFormatException';
const marksOf = (tried: Tried | null, ofMessage: boolean): Mark[] =>
  (tried?.result?.errors ?? []).filter((e) => isOfMessage(e) === ofMessage).slice(0, 100).map((e) => ({ line: e.line, column: e.column, severity: 'error' }));

function jump(id: string, line: number, column: number) {
  const area = document.getElementById(id) as HTMLTextAreaElement;
  const at = offsetOf(area.value, line, column);
  area.focus();
  area.setSelectionRange(at, at);
  area.scrollTop = Math.max(0, (line - 4) * LINE_PX);
  area.scrollLeft = Math.max(0, (column - 30) * 8);
}

// ---- what becomes of the message ----

function Result({ tried, exact, texts, hasMessage }: { tried: Tried | null; exact: unknown[]; texts: Pair; hasMessage: boolean }) {
  const result = tried?.result;
  const types = useMemo(() => templatesOf(texts.device)?.map((t) => t.type) ?? [], [texts.device]);
  const errors = tried?.findings.filter((f) => f.severity === 'error').length ?? 0;
  const count = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`;
  const said = !tried ? 'Trying…'
    : errors ? `The mappings have ${count(errors, 'error')}: no message is tried.`
      : !result ? (hasMessage ? '' : 'The mappings have no errors. Give a message to see what becomes of it.')
        : `${count(result.measurements.length, 'measurement')}, ${count(result.observations.length, 'Observation')}, ${result.errors.length ? count(result.errors.length, 'error') : 'no errors'}.`;
  const failed = new Set(result?.errors.map((e) => /^template\[(\d+)\]/.exec(e.path)?.[1]).filter((n) => n !== undefined).map((n) => types[Number(n)]));
  const matched = new Set(result?.measurements.map((m) => m.type));
  return (
    <section class="result" aria-labelledby="result-head" data-testid="result">
      <h2 id="result-head">What becomes of it</h2>
      <p role="status" id="result-said" data-testid="result-said" class={errors || result?.errors.length ? 'bad' : ''}>{said}</p>
      {result && types.length > 0 && (
        <ul class="chips" aria-label="Templates">
          {[...new Set(types)].map((t) => <li key={t} class={failed.has(t) ? 'chip-failed' : matched.has(t) ? 'chip-matched' : ''}>{failed.has(t) ? '✕ ' : matched.has(t) ? '✓ ' : ''}{t}<span class="sr">{failed.has(t) ? ' failed' : matched.has(t) ? ' matched' : ' did not match'}</span></li>)}
        </ul>
      )}
      {result && result.errors.length > 0 && (
        <ul class="findings">{result.errors.map((e, i) => (
          <li key={i} class="finding-error" data-testid="problem">
            {e.line > 0 && <button type="button" onClick={() => jump(isOfMessage(e) ? 'message' : 'device', e.line, e.column)}>{isOfMessage(e) ? 'Message' : 'Device mapping'}, line {e.line}</button>} <span>{e.message}</span>
          </li>
        ))}</ul>
      )}
      {result?.warnings && <ul class="findings">{result.warnings.map((w, i) => <li key={i} class="finding-warning"><span><b>Warning: </b>{w.message}</span></li>)}</ul>}
      {result && result.measurements.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Measurements"><table>
          <caption class="sr">Measurements</caption>
          <thead><tr><th scope="col">Type</th><th scope="col">Values</th><th scope="col">Measured</th><th scope="col">Device</th></tr></thead>
          <tbody>{result.measurements.map((m, i) => <tr key={i}><th scope="row">{m.type}</th><td>{m.properties?.map((p) => `${p.name} = ${p.value}`).join(', ')}</td><td>{m.occurrenceTimeUtc}</td><td>{m.deviceId ?? ''}</td></tr>)}</tbody>
        </table></div>
      )}
      {result?.observations.map((o, i) => (
        <details key={i} open={i === 0} data-testid="observation"><summary>Observation: {o.code?.text ?? i + 1}</summary><pre tabIndex={0} role="region" aria-label={`Observation ${o.code?.text ?? i + 1}`}>{writeExact(exact[i])}</pre></details>
      ))}
    </section>
  );
}

// ---- messages to try with ----

function Picker({ onPick }: { onPick: (message: Message) => void }) {
  const [found, setFound] = useState<{ letters: Message[]; messages: Message[] } | null>(null);
  const [error, setError] = useState('');
  const load = () => api<{ letters: Message[]; messages: Message[] }>('GET', '/mappings/messages?count=20').then((f) => { setFound(f); setError(''); }, (e) => setError((e as Error).message));
  const all = [...(found?.messages ?? []), ...(found?.letters ?? [])];
  const option = (m: Message, i: number) => <option key={i} value={i}>{m.device}, {age(m.time, now.peek())} ago{m.reason ? `, ${m.reason}` : ''} ({m.id})</option>;
  return (
    <>
      {found && (
        <label>Recent message <select data-testid="recent" value="" onChange={(e) => { const m = all[Number(e.currentTarget.value)]; if (e.currentTarget.value && m) onPick(m); }}>
          <option value="">{all.length ? 'choose one' : 'there is none'}</option>
          {found.messages.length > 0 && <optgroup label="From devices">{found.messages.map((m, i) => option(m, i))}</optgroup>}
          {found.letters.length > 0 && <optgroup label="Dead letters">{found.letters.map((m, i) => option(m, i + found.messages.length))}</optgroup>}
        </select></label>
      )}
      <button type="button" data-testid="recent-load" onClick={() => void load()}>{found ? 'Look again' : 'Use a recent message…'}</button>
      {!found && <span class="muted">Patient data: that you looked is recorded.</span>}
      {error && <span class="error" role="alert">{error}</span>}
    </>
  );
}

// ---- the page ----

function Changes({ list, warnings, note }: { list: string[]; warnings: string[]; note?: string }) {
  return (
    <>
      <p>{note ?? 'From the next message on:'}</p>
      <ul class="changes" data-testid="changes">{list.slice(0, 12).map((c, i) => <li key={i}>{c}</li>)}{list.length > 12 && <li>and {list.length - 12} more</li>}{list.length === 0 && <li>nothing changes</li>}</ul>
      {warnings.length > 0 && <div class="notice"><b>Look at this first:</b><ul>{warnings.map((w, i) => <li key={i}>{w}</li>)}</ul></div>}
      <p class="muted">What was mapped before stays as it is. You can roll back at any time.</p>
    </>
  );
}

export function Workbench() {
  const { data: versions, error, reload } = useFetched('mappings', () => api<Versions>('GET', '/mappings', { isBackground: true }), 15_000);
  const [texts, setTexts] = useState<Texts | null>(null); // `version`: what the draft was begun from
  const [active, setActive] = useState<Texts | null>(null);
  const [failure, setFailure] = useState('');
  const [said, say] = useState('');
  const [message, setMessage] = useState(EXAMPLE);
  const [isEnvelope, setEnvelope] = useState(true);
  const [compat, setCompat] = useState('');
  const [tried, setTried] = useState<Tried | null>(null);
  const [exact, setExact] = useState<unknown[]>([]);
  const [isBusy, setBusy] = useState(false);

  // What is active, again whenever that is another version: also by somebody else's hand.
  useEffect(() => {
    if (!versions) return;
    let isCurrent = true;
    api<Texts>('GET', '/mappings/active', { isBackground: true }).then((found) => {
      if (!isCurrent) return;
      setActive((before) => {
        setTexts((mine) => {
          const draft = mine ?? readDraft();
          return !draft || (before && draft.device === before.device && draft.fhir === before.fhir) ? found : draft;
        });
        return found;
      });
      setFailure('');
    }, (e) => isCurrent && setFailure((e as Error).message));
    return () => { isCurrent = false; };
  }, [versions?.active]);

  const isDraft = !!texts && !!active && (texts.device !== active.device || texts.fhir !== active.fhir);
  useEffect(() => {
    if (!texts || !active) return;
    try {
      if (isDraft) localStorage.setItem(DRAFT, JSON.stringify(texts));
      else localStorage.removeItem(DRAFT);
    } catch {
      say('This browser keeps no drafts: what you write is lost with the page.');
    }
  }, [texts, active, isDraft]);

  useEffect(() => {
    if (!texts || !versions) return;
    const stop = new AbortController();
    setBusy(true);
    const timer = setTimeout(() => {
      let text = '';
      api<Tried>('POST', '/mappings/try', { body: { device: texts.device, fhir: texts.fhir, payload: message, isEnvelope, compat: compat || versions.compat }, isBackground: true, signal: stop.signal, onText: (t) => { text = t; } })
        .then((answer) => {
          setTried(answer);
          setExact(answer.result?.observations.length ? (parseExact(text) as { result: { observations: unknown[] } }).result.observations : []);
          setFailure('');
          setBusy(false);
        }, (e) => {
          if ((e as Error).name === 'AbortError') return;
          setTried(null);
          setFailure((e as ApiError).message);
          setBusy(false);
        });
    }, WAIT_MS);
    return () => { clearTimeout(timer); stop.abort(); };
  }, [texts?.device, texts?.fhir, message, isEnvelope, compat, versions?.compat]);

  if (!texts || !active || !versions)
    return <><div class="page-head"><Heading>Mapping workbench</Heading></div>{error || failure ? <Failure text={error || failure} retry={reload} /> : <Loading what="the mappings" />}</>;

  const findings = (file: keyof Pair) => tried?.findings.filter((f) => f.file === file) ?? [];
  const errors = tried?.findings.filter((f) => f.severity === 'error') ?? [];
  const warnings = tried?.findings.filter((f) => f.severity === 'warning').map((f) => `${NAMES[f.file]}, line ${f.line}: ${f.text}`) ?? [];
  const write = (file: keyof Pair) => (text: string) => { say(''); setTexts({ ...texts, [file]: text }); };
  const now_ = versions.history[0];

  // One way for all three: see the difference to what is active right now, agree, put it in force.
  const propose = async (title: string, confirm: string, to: () => Promise<Pair>, request: object, warn: string[], isMine: boolean) => {
    try {
      const [was, next] = [await api<Texts>('GET', '/mappings/active'), await to()];
      asking.value = {
        title, confirm, children: <Changes list={differences(was, next)} warnings={warn} />,
        act: async () => {
          const done = await api<{ version: string; previous: string }>('POST', '/mappings', { body: { ...request, base: was.version } });
          const found = await api<Texts>('GET', '/mappings/active');
          if (isMine || !isDraft) setTexts(found);
          setActive(found);
          say(`Version ${done.version} is active. The next message is mapped by it.`);
          reload();
        },
      };
    } catch (e) {
      say((e as Error).message);
    }
  };
  const validate = () => {
    const first = errors[0];
    say(first ? `${errors.length} ${errors.length === 1 ? 'error' : 'errors'}. The first: ${NAMES[first.file]}, line ${first.line}: ${first.text}` : warnings.length ? `No errors. ${warnings.join(' ')}` : 'No errors.');
    if (first?.line) jump(first.file, first.line, first.column);
  };
  const pick = (m: Message) => {
    setMessage(pretty(m.envelope ?? m.payload ?? ''));
    setEnvelope(!!m.envelope);
  };

  return (
    <>
      <div class="page-head">
        <Heading>Mapping workbench</Heading>
        <p class="muted">Active: <code data-testid="active">{versions.active}</code>{now_ && <>, {HOW[now_.how] ?? now_.how} by {now_.who}, <Age time={now_.time} /> ago</>}</p>
        <div class="filters">
          <span class={`state ${isDraft ? 'state-draft' : ''}`} data-testid="draft-state">{isDraft ? 'Draft, kept in this browser' : 'As active'}</span>
          <button type="button" data-testid="validate" onClick={validate}>Validate</button>
          <button type="button" data-testid="discard" disabled={!isDraft} onClick={() => { asking.value = { title: 'Throw the draft away?', confirm: 'Throw away', children: <p>The editors show what is active again.</p>, act: async () => setTexts(active) }; }}>Discard draft</button>
          <button type="button" class="primary" data-testid="activate" disabled={!isDraft || !tried || isBusy || errors.length > 0}
            onClick={() => void propose('Put this draft in force?', 'Activate', async () => texts, { do: 'activate', device: texts.device, fhir: texts.fhir }, warnings, true)}>Activate…</button>
        </div>
      </div>
      <p role="status" aria-live="polite" class={said ? 'said' : ''} data-testid="said">{said}</p>
      {(failure || error) && <Failure text={failure || error} retry={reload} />}
      {versions.trouble && <p class="notice">{versions.trouble}</p>}
      {isDraft && texts.version !== active.version && <p class="notice">Another version was activated since this draft was begun. Activating shows the difference to that one.</p>}
      <div class="bench">
        <div>
          <Editor id="device" name={NAMES.device} text={texts.device} findings={findings('device')} problems={marksOf(tried, false)} onText={write('device')} />
          <Editor id="fhir" name={NAMES.fhir} text={texts.fhir} findings={findings('fhir')} problems={[]} onText={write('fhir')} />
        </div>
        <div>
          <section class="message" aria-labelledby="message-head">
            <label for="message"><h2 id="message-head">A message</h2></label>
            <div class="picker"><Picker onPick={pick} /></div>
            <Code id="message" text={message} marks={marksOf(tried, true)} isWrong={marksOf(tried, true).length > 0} describedBy="result-said" onText={setMessage} />
            <div class="picker">
              <label class="check"><input type="checkbox" data-testid="envelope" checked={isEnvelope} onChange={(e) => setEnvelope(e.currentTarget.checked)} /> with its envelope (Body, Properties, SystemProperties)</label>
              <label>Read as <select data-testid="compat" value={compat || versions.compat} onChange={(e) => setCompat(e.currentTarget.value)}><option value="default">Vigil</option><option value="medtech">MedTech</option></select></label>
            </div>
          </section>
          <Result tried={tried} exact={exact} texts={texts} hasMessage={!!message} />
        </div>
      </div>
      <section class="versions" aria-labelledby="versions-head">
        <div class="page-head">
          <h2 id="versions-head">Versions</h2>
          <button type="button" data-testid="reload-files" onClick={() => void propose('Put the files in force?', 'Activate', () => api<Texts>('GET', '/mappings/files'), { do: 'reload' }, [], false)}>Take the files…</button>
          <p class="muted">The configured files: <code>{versions.files.device}</code> and <code>{versions.files.fhir}</code></p>
        </div>
        <div class="scroll" tabIndex={0} role="region" aria-label="What was put in force"><table>
          <caption class="sr">What was put in force, newest first</caption>
          <thead><tr><th scope="col">Version</th><th scope="col">In force since</th><th scope="col">How</th><th scope="col">By</th><th scope="col"><span class="sr">Act</span></th></tr></thead>
          <tbody>{versions.history.slice(0, 50).map((e, i) => (
            <tr key={`${e.time}${e.version}`} data-testid="version-row" data-version={e.version}>
              <th scope="row"><code>{e.version}</code></th><td>{dayClock(e.time)}</td><td>{HOW[e.how] ?? e.how}</td><td>{e.who}</td>
              <td>{e.version === versions.active ? (i === 0 ? <b>active</b> : <span class="muted">active again</span>)
                : <button type="button" data-testid="rollback" onClick={() => void propose(`Roll back to ${e.version}?`, 'Roll back', () => api<Texts>('GET', `/mappings/${e.version}`), { do: 'rollback', version: e.version }, [], false)}>Roll back…<span class="sr"> to {e.version}</span></button>}</td>
            </tr>
          ))}</tbody>
        </table></div>
      </section>
    </>
  );
}
