// models.tsx -- the models: which run here and how, what each can do, and whether it still sees what it was
// made for. /model is the list, /model/NAME is one.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { api, isAdmin } from './api';
import { clock, dayClock, percent } from './logic';
import { Columns, Curves, Figure, plainAxis, roundUp, shareAxis as share, type XY } from './plot';
import { Age, Failure, Heading, Link, Loading, path, useFetched } from './ui';

// ---- what the server says (docs/api.md) ----

type Json = Record<string, unknown>;
type Num = number | null;
interface Model { folder: string; name?: string; version?: string; digest?: string; mode: string; elsewhere?: string; units?: string[]; engine?: string; thresholds?: { medium: number; high: number }; trouble?: string; card?: Json }
type State = 'ok' | 'few' | 'none' | 'empty' | 'bad';
type Level = 'ok' | 'watch' | 'drift' | 'unknown';
type Feature = { name: string; group: string; what: string; psi: Num; missingPsi: Num; level: Level; missing: number; missingBefore: number };
type Run = { time: string; version: string; worst: Num; watch: number; drift: number; probabilityPsi: Num; mean: Num; medium: Num; expectedToObserved: Num };
type Result = {
  version: string; time: string; from: string; isWhole: boolean; hoursNeeded: number; patientsNeeded: number; hours: number; patients: number; oneIn: number;
  features: { state: State; text?: string; hours: number; patients: number; ofPatients: number; items: Feature[]; watch: number; drift: number; worst: Num };
  probabilities: { state: State; psi: Num; level: Level; mean: Num; edges?: number[]; shares?: number[]; sharesBefore?: number[] };
  alerts: { state: State; medium: Num; high: Num; mediumBefore: Num; highBefore: Num; days: { day: string; hours: number; medium: number; high: number; mean: number }[] };
  calibration: { state: State; text?: string; baseRateBefore: Num; patients?: number; patientsWithOutcome?: number; hours?: number; baseRate?: Num; expectedToObserved?: Num; expectedToObservedLow?: Num; expectedToObservedHigh?: Num; slope?: Num; intercept?: Num; brier?: Num; auroc?: Num; aurocLow?: Num; aurocHigh?: Num; curve?: XY[]; whyNoProposal?: string };
  runs: Run[];
};
type Proposal = { version: string; newVersion: string; made: string; slope: number; intercept: number; calibration: { slope: number; intercept: number }; thresholds: { medium: number; high: number }; text: string };
type Watched = { name: string; curves?: { roc: XY[]; precision: XY[]; calibration: XY[]; burden: XY[] }; result?: Result; proposal?: Proposal };

// ---- reading a card, whose members may be absent ----

const at = (value: unknown, where: string): unknown => where.split('.').reduce<unknown>((v, key) => (v && typeof v === 'object' ? (v as Json)[key] : undefined), value);
const num = (value: unknown, where: string) => { const v = at(value, where); return typeof v === 'number' ? v : null; };
const text = (value: unknown, where: string) => { const v = at(value, where); return typeof v === 'string' ? v : ''; };
const fixed = (v: Num | undefined, digits: number) => (v === null || v === undefined ? '–' : v.toFixed(digits));
/** "0.7069 to 0.7525" with as many digits as the figure beside it */
const range = (v: string, digits: number, scale = 1) => v.replace(/[\d.]+/g, (n) => (Number(n) * scale).toFixed(digits)).replace(' to ', ' – ');
const words = (name: string) => name.replace(/95$/, ', range').replace(/([a-z0-9])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`).replace(/[_-]/g, ' ').replace(/^./, (c) => c.toUpperCase()).replace(/auroc/gi, 'AUROC').replace(/news2/gi, 'NEWS2').replace(/spo2/i, 'SpO2').replace(/\bicu\b/i, 'ICU');
const GROUPS: Record<string, string> = { mean: 'Mean pressure', systolic: 'Systolic pressure', diastolic: 'Diastolic pressure', rules: 'Other scores', labs: 'Laboratory', gcs: 'Glasgow coma scale' };
const groupName = (name: string) => GROUPS[name] ?? words(name);
const horizon = (hours: Num) => (hours === null ? '–' : hours >= 72 ? `${Math.round(hours / 24)} d` : `${hours} h`);
const day = (time: string) => new Date(time).toISOString().slice(5, 10);

const MODES: Record<string, [string, string]> = {
  absent: ['Off', 'does not run'], silent: ['Silent', 'recorded, shown to nobody'], show: ['Shown', 'on the board and in the RiskAssessment'], flag: ['Raises flags', 'on the board, and raises Flags'],
};
const Mode = ({ mode }: { mode: string }) => <span class={`mode mode-${mode}`}>{MODES[mode]?.[0] ?? mode}</span>;
const SIGN: Record<Level, string> = { ok: '✓', watch: '!', drift: '‼', unknown: '–' };
const WORD: Record<Level, string> = { ok: 'steady', watch: 'watch', drift: 'drift', unknown: 'not known' };
const Sign = ({ level, children }: { level: Level; children?: ComponentChildren }) => <span class={`sign sign-${level}`}><span aria-hidden="true">{SIGN[level]}</span> {children ?? WORD[level]}</span>;

// ---- what one line says of a model ----

// Of probabilities that could be judged. That nothing is proposed does not mean that they are right.
function calibrationSays(m: Model, w: Watched): { level: Level; says: string } {
  const c = w.result!.calibration;
  if (w.result!.version !== m.version) return { level: 'unknown', says: `judged as version ${w.result!.version}: look again` };
  if (w.proposal) return { level: 'watch', says: 'recalibration proposed' };
  const isKept = (c.expectedToObservedLow ?? NaN) <= 1 && (c.expectedToObservedHigh ?? NaN) >= 1;
  return isKept ? { level: 'ok', says: 'probabilities in keeping with outcomes' } : { level: 'watch', says: 'probabilities not in keeping with outcomes' };
}

function verdicts(m: Model, w: Watched | null): { level: Level; says: string }[] {
  const r = w?.result;
  if (!r) return [{ level: 'unknown', says: 'not watched yet' }];
  const said: { level: Level; says: string }[] = [];
  const f = r.features;
  if (r.version !== m.version) said.push({ level: 'unknown', says: `last watched as version ${r.version}` });
  if (f.state === 'ok') said.push({ level: f.drift ? 'drift' : f.watch ? 'watch' : 'ok', says: f.drift ? `${f.drift} of ${f.items.length} inputs in drift` : f.watch ? `${f.watch} inputs to watch` : 'inputs as in training' });
  else said.push({ level: 'unknown', says: f.state === 'few' ? 'too few hours to judge inputs' : f.state === 'none' ? 'no reference to judge inputs by' : 'no readings to judge' });
  if (r.alerts.medium !== null) said.push({ level: r.alerts.state !== 'ok' || r.alerts.mediumBefore === null ? 'unknown' : r.alerts.medium > 2 * r.alerts.mediumBefore ? 'watch' : 'ok', says: `${fixed(r.alerts.medium, 1)} alerts per 100 patient-days${r.alerts.mediumBefore === null ? '' : `, ${fixed(r.alerts.mediumBefore, 1)} expected`}` });
  const c = r.calibration;
  if (c.state === 'ok') said.push(calibrationSays(m, w));
  else said.push({ level: 'unknown', says: c.state === 'few' ? 'too few outcomes to judge calibration' : 'no outcomes: calibration not known' });
  return said;
}

// ---- key figures ----

function KeyFigures({ card }: { card: Json }) {
  const rows: [string, string, number, string][] = [
    ['AUROC, by hour', 'rowAuroc', 3, 'how well it ranks: 0.5 is chance, 1 is perfect'], ['AUROC, by patient', 'patientAuroc', 3, 'each patient’s highest probability'],
    ['Average precision', 'rowAveragePrecision', 3, `the share of hours before the outcome is ${fixed(num(card, 'figures.test.baseRate'), 3)}`], ['Utility', 'utility', 3, 'of the 2019 challenge: 1 is the best possible, 0 is no alert at all'],
  ];
  const test = at(card, 'figures.test');
  const plain: [string, string, string][] = [
    ['Expected to observed', fixed(num(test, 'expectedToObserved'), 2), '1 is right'], ['Calibration slope', fixed(num(test, 'calibrationSlope'), 2), '1 is right; below, the extremes are too extreme'], ['Brier score', fixed(num(test, 'brier'), 3), 'smaller is better'],
  ];
  return (
    <>
    <p class="muted">On {num(card, 'data.test.patients')?.toLocaleString('en') ?? '–'} patients kept apart, {num(card, 'data.test.patientsWithOutcome')?.toLocaleString('en') ?? '–'} with the outcome. 95 of 100 samples of patients lie in the range.</p>
    <div class="scroll free" tabIndex={0} role="region" aria-label="Key figures"><table class="figures has-words">
      <caption class="sr">Key figures of the model and of NEWS2</caption>
      <thead><tr><th scope="col">Figure</th><th scope="col">Model</th><th scope="col">Range</th><th scope="col">NEWS2</th><th scope="col">Reads as</th></tr></thead>
      <tbody>
        {rows.filter(([, key]) => num(test, key) !== null).map(([name, key, digits, reads]) => (
          <tr key={key}><th scope="row">{name}</th><td><b>{fixed(num(test, key), digits)}</b></td><td class="num">{range(text(test, `${key}95`), digits) || '–'}</td><td>{fixed(num(card, `figures.news2.${key}`), digits)}</td><td class="muted">{reads}</td></tr>
        ))}
        {plain.map(([name, value, reads]) => <tr key={name}><th scope="row">{name}</th><td><b>{value}</b></td><td>–</td><td>–</td><td class="muted">{reads}</td></tr>)}
      </tbody></table></div>
    </>
  );
}

function Thresholds({ card, inForce }: { card: Json; inForce?: { medium: number; high: number } }) {
  const rows = (['medium', 'high'] as const).map((band) => ({ band, at: inForce?.[band] ?? num(card, `thresholds.${band}.probability`), isCards: inForce === undefined || Math.abs(inForce[band] - (num(card, `thresholds.${band}.probability`) ?? 0)) < 1e-9, test: at(card, `thresholds.${band}.test`) }));
  return (
    <>
    <h3>What the care team gets</h3>
    <p class="muted">An alert is an hour at or above the band’s threshold with none in the 24 h before.</p>
    <div class="scroll free" tabIndex={0} role="region" aria-label="Bands"><table class="figures">
      <caption class="sr">Alerts of each band</caption>
      <thead><tr><th scope="col">Band</th><th scope="col">From</th><th scope="col">Alerts per 100 patient-days</th><th scope="col">Of those true</th><th scope="col">Of the ill, found</th><th scope="col">Hours ahead</th></tr></thead>
      <tbody>{rows.map((r) => (
        <tr key={r.band}><th scope="row">{words(r.band)}</th><td>{percent(r.at)}</td>
          {r.isCards ? <>
            <td><b>{fixed(num(r.test, 'alertsPer100PatientDays'), 1)}</b> <span class="muted num">{range(text(r.test, 'alertsPer100PatientDays95'), 1)}</span></td>
            <td><b>{percent(num(r.test, 'precision'))}</b> <span class="muted num">{range(text(r.test, 'precision95'), 0, 100)}</span></td>
            <td><b>{percent(num(r.test, 'sensitivity'))}</b> <span class="muted num">{range(text(r.test, 'sensitivity95'), 0, 100)}</span></td>
            <td>{fixed(num(r.test, 'medianLeadHours'), 0)}</td>
          </> : <td colSpan={4} class="muted">set here in live.json: the card has no figures for it</td>}
        </tr>
      ))}</tbody></table></div>
    </>
  );
}

function CardCurves({ card, curves }: { card: Json; curves: NonNullable<Watched['curves']> }) {
  const highest = (points: XY[], k: 0 | 1) => roundUp(Math.max(0.001, ...points.map((p) => p[k])));
  const both = Math.min(1, Math.max(highest(curves.calibration, 0), highest(curves.calibration, 1)));
  const rate = num(card, 'figures.test.baseRate');
  return (
    <div class="figures-grid">
      <Curves title="Receiver operating characteristic" note={`area ${fixed(num(card, 'figures.test.rowAuroc'), 3)}; dashed: chance`} x={share('false alarms among hours without')} y={share('found')} series={[{ name: 'model', points: [[0, 0], ...curves.roc, [1, 1]] }]} hasDiagonal />
      <Curves title="Precision and recall" note={`average ${fixed(num(card, 'figures.test.rowAveragePrecision'), 3)}`} x={share('found')} y={share('true among alerts', highest(curves.precision.filter(([found]) => found >= 0.02), 1))} series={[{ name: 'model', points: curves.precision }]} marks={rate === null ? [] : [{ at: rate, name: 'chance' }]} />
      <Curves title="Calibration" note="ten groups; dashed: as said" x={share('said', both)} y={share('came true', both)} series={[{ name: 'model', points: curves.calibration, hasDots: true }]} hasDiagonal />
      <Curves title="Alert burden" note="what finding more costs" x={plainAxis('alerts per 100 patient-days', highest(curves.burden, 0))} y={share('of the ill, found')} series={[{ name: 'model', points: curves.burden, hasDots: true }]} />
    </div>
  );
}

// ---- watching ----

const BAR = 220; // of a PSI bar; its scale ends at 0.5
const most = (f: Feature) => Math.max(f.psi ?? 0, f.missingPsi ?? 0);

function PsiBar({ value, level }: { value: number; level: Level }) {
  const x = (v: number) => (Math.min(0.5, v) / 0.5) * BAR;
  return (
    <svg class="psi" viewBox={`0 0 ${BAR} 14`} aria-hidden="true" preserveAspectRatio="none">
      <rect class="psi-back" x="0" y="0" width={BAR} height="14" /><rect class={`psi-fill psi-${level}`} x="0" y="2" width={Math.max(1.5, x(value))} height="10" />
      <line class="psi-at" x1={x(0.1)} x2={x(0.1)} y1="0" y2="14" /><line class="psi-at" x1={x(0.25)} x2={x(0.25)} y1="0" y2="14" />
    </svg>
  );
}

function Inputs({ f, needs }: { f: Result['features']; needs: string }) {
  const groups = new Map<string, Feature[]>();
  for (const item of f.items) groups.set(item.group, [...(groups.get(item.group) ?? []), item]);
  const level = (items: Feature[]): Level => (items.some((i) => i.level === 'drift') ? 'drift' : items.some((i) => i.level === 'watch') ? 'watch' : items.every((i) => i.level === 'unknown') ? 'unknown' : 'ok');
  const sorted = [...groups].map(([name, items]) => ({ name, items: items.sort((a, b) => most(b) - most(a)), worst: Math.max(...items.map(most)) })).sort((a, b) => b.worst - a.worst);
  if (f.state === 'none') return <p class="notice">{f.text ?? 'There is nothing to compare with.'}</p>;
  if (!f.items.length) return <p class="muted">There were no readings to compute features from.</p>;
  return (
    <>
      <p class="muted">Computed again for {f.hours.toLocaleString('en')} hours of {f.patients} {f.patients === f.ofPatients ? 'patients' : `of ${f.ofPatients} patients`}. Below 0.1 is steady, from 0.1 worth a look, from 0.25 other patients, other devices or another way to measure. {f.state === 'few' && <b>{needs}</b>}</p>
      <p class="drift-scale" aria-hidden="true"><span>0.1</span><span>0.25</span><span>0.5+</span></p>
      <ul class="drift" data-testid="drift">{sorted.map((g) => (
        <li key={g.name}>
          <details>
            <summary><span class="drift-name">{groupName(g.name)}</span><PsiBar value={g.worst} level={level(g.items)} /><span class="drift-value">{g.worst.toFixed(2)}</span><Sign level={f.state === 'few' ? 'unknown' : level(g.items)}>{f.state === 'few' ? 'too few' : undefined}</Sign></summary>
            <div class="scroll" tabIndex={0} role="region" aria-label={`Features of ${groupName(g.name)}`}><table>
              <caption class="sr">Features of {groupName(g.name)}, most changed first</caption>
              <thead><tr><th scope="col">Feature</th><th scope="col">PSI</th><th scope="col">Missing in training</th><th scope="col">Missing now</th><th scope="col">PSI of missing</th><th scope="col">Level</th></tr></thead>
              <tbody>{g.items.map((i) => <tr key={i.name}><th scope="row">{i.what}</th><td>{fixed(i.psi, 3)}</td><td>{percent(i.missingBefore)}</td><td>{percent(i.missing)}</td><td>{fixed(i.missingPsi, 3)}</td><td><Sign level={i.level} /></td></tr>)}</tbody></table></div>
          </details>
        </li>
      ))}</ul>
    </>
  );
}

function Calibration({ c, mean, hours }: { c: Result['calibration']; mean: Num; hours: Num }) {
  if (c.state === 'bad') return <p class="error">The outcomes cannot be read: {c.text}</p>;
  if (c.state === 'none' || c.state === 'empty')
    return (
      <div class="calm">
        <p><b>Not known: {c.state === 'none' ? 'no outcomes were given' : 'none of the patients with outcomes has a score that can be judged yet'}.</b> Whether a probability is true can only be told from what became of the patients (<code>vigil model outcomes NAME FILE</code>).</p>
        <p>Mean probability here <b>{percent(mean)}</b>; in training the outcome followed within {horizon(hours)} in <b>{percent(c.baseRateBefore)}</b> of the hours. A difference may be other patients as well as a wrong probability.</p>
      </div>
    );
  const max = Math.min(1, roundUp(Math.max(0.001, ...(c.curve ?? []).flat())));
  return (
    <div class="with-figure">
      <div class="scroll free" tabIndex={0} role="region" aria-label="Calibration by outcomes"><table class="figures">
        <caption>{c.patients} patients with known outcomes, {c.patientsWithOutcome} with it; {c.hours?.toLocaleString('en')} hours. {c.state === 'few' && <b>Too few to conclude.</b>}</caption>
        <thead><tr><th scope="col">Figure</th><th scope="col">Here</th><th scope="col">Range</th></tr></thead>
        <tbody>
          <tr><th scope="row">Expected to observed</th><td><b>{fixed(c.expectedToObserved, 2)}</b></td><td class="num">{fixed(c.expectedToObservedLow, 2)} – {fixed(c.expectedToObservedHigh, 2)}</td></tr>
          <tr><th scope="row">Slope</th><td><b>{fixed(c.slope, 2)}</b></td><td>–</td></tr><tr><th scope="row">Intercept</th><td><b>{fixed(c.intercept, 2)}</b></td><td>–</td></tr>
          <tr><th scope="row">Brier score</th><td><b>{fixed(c.brier, 3)}</b></td><td>–</td></tr><tr><th scope="row">AUROC, by hour</th><td><b>{fixed(c.auroc, 3)}</b></td><td class="num">{fixed(c.aurocLow, 3)} – {fixed(c.aurocHigh, 3)}</td></tr>
        </tbody></table></div>
      {c.curve && <Curves title="Calibration here" note="ten groups; dashed: as said" x={share('said', max)} y={share('came true', max)} series={[{ name: 'here', points: c.curve, hasDots: true }]} hasDiagonal />}
    </div>
  );
}

function ProposalBox({ p, m }: { p: Proposal; m: Model }) {
  const rows: [string, string, string][] = [
    ['version', m.version ?? '–', p.newVersion], ['calibration: slope', fixed(num(m.card, 'calibration.slope'), 4), p.calibration.slope.toFixed(4)], ['calibration: intercept', fixed(num(m.card, 'calibration.intercept'), 4), p.calibration.intercept.toFixed(4)],
    ['band medium from', percent(num(m.card, 'thresholds.medium.probability')), percent(p.thresholds.medium)], ['band high from', percent(num(m.card, 'thresholds.high.probability')), percent(p.thresholds.high)],
  ];
  return (
    <section class="proposal" data-testid="proposal" aria-labelledby="proposal-head">
      <h3 id="proposal-head">Proposed: version {p.newVersion}</h3>
      <p>{p.text}</p>
      <div class="scroll free" tabIndex={0} role="region" aria-label="What would change"><table class="figures">
        <caption class="sr">What would change in card.json</caption>
        <thead><tr><th scope="col">card.json</th><th scope="col">is now</th><th scope="col">would be</th></tr></thead>
        <tbody>{rows.map(([k, is, would]) => <tr key={k}><th scope="row">{k}</th><td>{is}</td><td><b>{would}</b></td></tr>)}</tbody></table></div>
      <p>Nothing changes by itself. Whoever answers for the model applies it on the server: <code>vigil model recalibrate {m.name} --apply</code></p>
    </section>
  );
}

function Watching({ m, w }: { m: Model; w: Watched }) {
  const r = w.result;
  if (!r) return <p class="calm">It has not been watched yet. That happens by itself soon after scores are in the lake, then once a day.</p>;
  const needs = `To conclude, ${r.hoursNeeded.toLocaleString('en')} hours of ${r.patientsNeeded} patients are needed.`;
  const p = r.probabilities;
  const days = r.alerts.days;
  const expected = r.alerts.mediumBefore;
  const tall = roundUp(Math.max(1, expected ?? 0, ...days.map((d) => d.medium)) * 1.15);
  const runs = r.runs.filter((run) => run.version === r.version);
  const first = Date.parse(runs[0]?.time ?? r.time);
  const last = Math.max(first + 3600_000, Date.parse(runs[runs.length - 1]?.time ?? r.time));
  const drifted = roundUp(Math.max(0.3, ...runs.map((run) => run.worst ?? 0)));
  const line = (get: (run: Run) => Num): XY[] => runs.flatMap((run): XY[] => { const v = get(run); return v === null ? [] : [[Date.parse(run.time), v]]; });
  const cells = p.edges?.length ? [`<${percent(p.edges[0])}`, ...p.edges.slice(0, -1).map(percent), `≥${percent(p.edges[p.edges.length - 1])}`] : [];
  const calibration = calibrationSays(m, w);
  const level = r.features.state !== 'ok' ? 'unknown' : r.features.drift ? 'drift' : r.features.watch ? 'watch' : 'ok';
  return (
    <>
      <p class="muted">Looked at <Age time={r.time} /> ago ({dayClock(r.time)}), since {dayClock(r.from)}: {r.hours.toLocaleString('en')} hours of {r.patients} patients{r.oneIn > 1 && `, one patient in ${r.oneIn}`}.{!r.isWhole && ' The time was over before all had been looked at.'}{r.version !== m.version && <b> This was version {r.version}.</b>}</p>
      <dl class="key-tiles">
        <div><dt>Inputs</dt><dd>{r.features.state === 'ok' ? `${r.features.drift} in drift` : '–'}</dd><dd class="sub">{r.features.state === 'ok' ? <Sign level={level}>{r.features.watch} to watch, of {r.features.items.length}</Sign> : needs}</dd></div>
        <div><dt>Alerts per 100 patient-days</dt><dd>{fixed(r.alerts.medium, 1)}</dd><dd class="sub">{expected === null ? 'expected: not known for these thresholds' : `expected ${fixed(expected, 1)}`}</dd></div>
        <div><dt>Mean probability</dt><dd>{percent(p.mean)}</dd><dd class="sub">{p.psi === null ? 'no reference' : <Sign level={p.state === 'ok' ? p.level : 'unknown'}>PSI {fixed(p.psi, 2)}</Sign>}</dd></div>
        <div><dt>Expected to observed</dt><dd>{fixed(r.calibration.expectedToObserved, 2)}</dd><dd class="sub">{r.calibration.state === 'ok' ? <Sign level={calibration.level}>{calibration.says}</Sign> : 'outcomes are needed'}</dd></div>
      </dl>
      {w.proposal && m.name && <ProposalBox p={w.proposal} m={m} />}
      <h3>Inputs against training</h3>
      <Inputs f={r.features} needs={needs} />
      <div class="figures-grid">
        {days.length > 0 && <Columns title="Alerts by day" note="medium band and above" names={days.map((d) => day(d.day))} xName="day (UTC)" y={plainAxis('alerts per 100 patient-days', tall)} first={{ name: 'alerts', values: days.map((d) => d.medium) }} marks={expected === null ? [] : [{ at: expected, name: 'expected' }]} />}
        {runs.length > 1 && <Curves title="Drift over time" note="the input that changed most, at each look" x={{ name: 'time of the look', min: first, max: last, format: (v) => (last - first < 3 * 86400_000 ? clock(v) : day(new Date(v).toISOString())) }} y={plainAxis('PSI', drifted)}
          series={[{ name: 'most changed input', points: line((run) => run.worst), hasDots: true }, { name: 'probabilities', points: line((run) => run.probabilityPsi), isSecond: true, hasDots: true }]} marks={[...(drifted > 2 ? [] : [{ at: 0.1, name: 'watch' }]), { at: 0.25, name: 'drift', isAlarm: true }]} />}
        {p.shares && p.sharesBefore && p.edges && <Columns title="Probabilities" note="white columns: a tenth of training each" names={cells} xName="from" y={share('of the hours', roundUp(Math.max(0.1, ...p.shares, ...p.sharesBefore)))} first={{ name: 'now', values: p.shares }} second={{ name: 'training', values: p.sharesBefore }} />}
      </div>
      <h3>Are the probabilities true?</h3>
      <Calibration c={r.calibration} mean={p.mean} hours={num(m.card, 'horizonHours')} />
      {r.calibration.whyNoProposal && r.calibration.state !== 'none' && <p class="muted">No recalibration is proposed: {r.calibration.whyNoProposal}.</p>}
    </>
  );
}

// ---- the rest of the card, folded ----

const isPlain = (value: unknown) => value === null || typeof value !== 'object';
const plain = (value: unknown): string => (value === null || value === undefined ? '–' : typeof value === 'number' ? (Number.isInteger(value) ? value.toLocaleString('en') : String(Number(value.toPrecision(4)))) : typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value));

/** Whatever it holds, in the order in which it was written. */
function Value({ value, name }: { value: unknown; name: string }) {
  if (isPlain(value)) return <p>{plain(value)}</p>;
  if (Array.isArray(value)) {
    if (value.every(isPlain)) return name === 'features' ? <p class="feature-names">{value.map((v, i) => <code key={i}>{plain(v)}</code>)}</p> : <ul class="plain">{value.map((v, i) => <li key={i}>{plain(v)}</li>)}</ul>;
    const columns = [...new Set(value.flatMap((v) => (isPlain(v) ? [] : Object.keys(v as object))))];
    return (
      <div class="scroll" tabIndex={0} role="region" aria-label={words(name)}><table><caption class="sr">{words(name)}</caption>
        <thead><tr>{columns.map((c) => <th key={c} scope="col">{words(c)}</th>)}</tr></thead>
        <tbody>{value.map((v, i) => <tr key={i}>{columns.map((c) => <td key={c}>{c in (v as object) ? (isPlain((v as Json)[c]) ? plain((v as Json)[c]) : JSON.stringify((v as Json)[c])) : ''}</td>)}</tr>)}</tbody></table></div>
    );
  }
  return <dl class="facts">{Object.entries(value as object).map(([k, v]) => <div key={k}><dt>{words(k)}</dt><dd>{isPlain(v) ? plain(v) : <Value value={v} name={k} />}</dd></div>)}</dl>;
}

const Fold = ({ title, count, children }: { title: string; count?: number; children: ComponentChildren }) => <details class="fold"><summary>{title}{count !== undefined && <span class="muted"> {count}</span>}</summary><div>{children}</div></details>;

function Attributes({ list }: { list: { group: string; attribute: string; text: string }[] }) {
  const groups = [...new Set(list.map((a) => a.group))];
  return <>{groups.map((g) => <section key={g} class="attributes"><h3>{g}</h3><dl>{list.filter((a) => a.group === g).map((a) => <div key={a.attribute}><dt>{words(a.attribute)}</dt><dd>{a.text}</dd></div>)}</dl></section>)}</>;
}

function WholeCard({ card }: { card: Json }) {
  const limits = at(card, 'limits');
  const attributes = at(card, 'sourceAttributes');
  const subgroups = at(card, 'figures.subgroups');
  const rest: [string, unknown][] = [['Where each figure comes from: data', at(card, 'data')], ['How it was trained', at(card, 'training')], ['Calibration', at(card, 'calibration')], ['Recalibrated here', at(card, 'recalibrated')], ['Other scores on the same hours', at(card, 'figures.otherScores')], ['Trained in one hospital, judged in the other', at(card, 'figures.transferBetweenHospitals')], ['Without features of time since', at(card, 'figures.withoutTimeSinceFeatures')], ['Features', at(card, 'features')]];
  return (
    <>
      {Array.isArray(limits) && <Fold title="Limits: where it must not be used" count={limits.length}><ul class="plain">{limits.map((l, i) => <li key={i}>{plain(l)}</li>)}</ul></Fold>}
      {Array.isArray(subgroups) && <Fold title="By group of patients" count={subgroups.length}><Value value={subgroups} name="subgroups" /></Fold>}
      {rest.map(([title, value]) => value !== undefined && <Fold key={title} title={title} count={Array.isArray(value) ? value.length : undefined}><Value value={value} name={title === 'Features' ? 'features' : title} /></Fold>)}
      {Array.isArray(attributes) && <Fold title="Source attributes" count={attributes.length}><Attributes list={attributes as never} /></Fold>}
    </>
  );
}

// ---- pages ----

/** What people see comes first; what cannot be read before what does not run. */
const rank = (m: Model) => ['flag', 'show', 'silent', 'absent'].indexOf(m.mode);

const where = (m: Model) => `${MODES[m.mode]?.[1] ?? m.mode}${m.units ? ` in ${m.units.join(', ')}; elsewhere ${MODES[m.elsewhere ?? '']?.[1] ?? 'off'}` : ''}`;

function Actions({ done }: { done: () => void }) {
  const [said, say] = useState('');
  const [busy, setBusy] = useState('');
  if (!isAdmin()) return null;
  const act = async (what: 'reload' | 'watch') => {
    setBusy(what);
    say('');
    try {
      const answer = await api<{ models?: Model[] }>('POST', what === 'reload' ? '/models' : '/models/watch', { body: {} });
      say(what === 'watch' ? 'All models were looked at.' : `In force: ${answer.models?.map((m) => `${m.name ?? m.folder} ${m.version ?? ''}${m.trouble ? ` (its newest files are not: ${m.trouble})` : ''}`).join(', ') || 'none'}.`);
    } catch (failure) {
      say((failure as Error).message);
    }
    setBusy('');
    done();
  };
  return (
    <div class="filters">
      <span role="status" aria-live="polite" class="acted" data-testid="models-said">{busy === 'watch' ? 'Looking…' : said}</span>
      <button type="button" disabled={!!busy} data-testid="models-watch" onClick={() => void act('watch')}>Look now</button>
      <button type="button" disabled={!!busy} data-testid="models-reload" onClick={() => void act('reload')}>Reload models</button>
    </div>
  );
}

function Summary({ m }: { m: Model }) {
  const { data, error } = useFetched(`watched ${m.name} ${m.digest}`, () => (m.name ? api<Watched>('GET', `/models/${m.name}`, { isBackground: true }) : Promise.resolve(null)), 60_000);
  const card = m.card ?? {};
  return (
    <li class="card model-line" data-testid="model" data-model={m.name}>
      <div class="model-what">
        <h2>{m.name ? <Link to={`/model/${m.name}`} class="patient-link">{m.name}</Link> : m.folder} {m.version && <span class="muted">version {m.version}</span>}</h2>
        <p><Mode mode={m.mode} /> <span class="muted">{where(m)}</span></p>
        {text(card, 'purpose') && <p>{text(card, 'purpose')}</p>}
        {m.trouble && <p class="error" role="alert"><b>Its newest files are not in use:</b> {m.trouble}</p>}
      </div>
      {m.card && (
        <dl class="model-numbers">
          <div><dt>AUROC</dt><dd>{fixed(num(card, 'figures.test.rowAuroc'), 3)}</dd></div><div><dt>NEWS2’s</dt><dd>{fixed(num(card, 'figures.news2.rowAuroc'), 3)}</dd></div><div><dt>Horizon</dt><dd>{horizon(num(card, 'horizonHours'))}</dd></div>
        </dl>
      )}
      {m.name && <ul class="verdicts">{error ? <li>{error}</li> : verdicts(m, data).map((v) => <li key={v.says}><Sign level={v.level}>{v.says}</Sign></li>)}</ul>}
    </li>
  );
}

function One({ m, back }: { m: Model; back: () => void }) {
  const { data, error, reload } = useFetched(`watched ${m.name} ${m.digest}`, () => api<Watched>('GET', `/models/${m.name}`, { isBackground: true }), 60_000);
  const card = m.card ?? {};
  return (
    <>
      <p class="crumb"><Link to="/model">All models</Link></p>
      <div class="page-head"><Heading title={m.name}>{m.name} <span class="muted">version {m.version}</span></Heading><Mode mode={m.mode} /><Actions done={() => { back(); reload(); }} /></div>
      {m.trouble && <p class="error" role="alert"><b>Its newest files are not in use:</b> {m.trouble}</p>}
      <p class="lead">{text(card, 'purpose')}</p>
      <dl class="facts brief">
        <div><dt>Use here</dt><dd>{where(m)}</dd></div><div><dt>Outcome</dt><dd>{text(card, 'outcome')}, within {horizon(num(card, 'horizonHours'))}</dd></div>
        <div><dt>Made from</dt><dd>{text(card, 'data.source').split(':')[0]}</dd></div><div><dt>Files</dt><dd><code>{m.digest}</code>{m.engine === 'remote' && ', scored by another process'}</dd></div>
      </dl>
      {Array.isArray(at(card, 'limits')) && <p class="notice"><b>Before use:</b> {(at(card, 'limits') as string[]).slice(0, 2).join(' ')}</p>}
      {error && <Failure text={error} retry={reload} />}
      <section class="panel" aria-labelledby="watch-head"><h2 id="watch-head">Watching</h2>{data ? <Watching m={m} w={data} /> : !error && <Loading what="what was found" />}</section>
      {m.card && (
        <section class="panel" aria-labelledby="can-head"><h2 id="can-head">What it could do when it was made</h2>
          {Array.isArray(at(card, 'recalibrated')) && <p class="notice">Recalibrated here since: probabilities and thresholds are not those of these figures, the order of patients is.</p>}
          <KeyFigures card={card} />
          <Thresholds card={card} inForce={m.thresholds} />
          {data?.curves ? <CardCurves card={card} curves={data.curves} /> : data && <Figure title="Curves" ><p class="muted">This model keeps no curves beside its card.</p></Figure>}
        </section>
      )}
      {m.card && <section class="panel" aria-labelledby="card-head"><h2 id="card-head">The whole card</h2><WholeCard card={card} /></section>}
    </>
  );
}

export function Models() {
  const name = decodeURIComponent(path.value.split('/')[2] ?? '');
  const { data, error, reload } = useFetched('models', () => api<{ models: Model[] }>('GET', '/models', { isBackground: true }), 60_000);
  const one = data?.models.find((m) => m.name === name);
  if (one) return <One key={name} m={one} back={reload} />;
  return (
    <>
      <div class="page-head"><Heading>Models</Heading><p class="muted">What runs here, how well it does, and whether it still sees what it was made for.</p><Actions done={reload} /></div>
      {error && <Failure text={error} retry={reload} />}
      {!data && !error && <Loading what="the models" />}
      {data?.models.length === 0 && <p class="empty">No model runs: NEWS2 alone.</p>}
      {data && name && !one && <p class="notice">There is no model called {name} here.</p>}
      {data && data.models.length > 0 && <ul class="model-list">{[...data.models].sort((a, b) => rank(a) - rank(b)).map((m) => <Summary key={m.folder} m={m} />)}</ul>}
    </>
  );
}
