// report.tsx -- step 16: the ward as of the last scheduled run, and how old that is.
import { api, mayAct } from './api';
import { ageMs, clock, dayClock, duration } from './logic';
import { now } from './live';
import { Age, Failure, FlagBadge, Heading, Link, Loading, News2, useFetched } from './ui';
import type { Row } from './types';

type Report = {
  asOf: string; nextRun: string; everySeconds: number; patients: number; bands: Record<string, number>; openFlags: number;
  unacknowledged: number; medianAcknowledgeSeconds: number | null; overdue: Row[]; byUnit: { unit: string; patients: number; high: number; medium: number }[];
};
const LATE_MS = 15 * 60_000; // the reference picture's bound

export function ReportPage() {
  const { data, error, reload } = useFetched('report', () => api<Report>('GET', '/report', { isBackground: true }), 15_000);
  if (!data) return <><Heading>Ward report</Heading>{error ? <Failure text={error} retry={reload} /> : <Loading what="the report" />}</>;
  const isLate = ageMs(data.asOf, now.value) > Math.max(LATE_MS, data.everySeconds * 3000);
  const most = Math.max(1, ...Object.values(data.bands));
  return (
    <>
      <div class="page-head"><Heading>Ward report</Heading>
        <p class={isLate ? 'late' : ''}>as of <b>{clock(data.asOf)}</b>, <Age time={data.asOf} /> old{isLate && <b> – LATE</b>} · next run {clock(data.nextRun)} · every {duration(data.everySeconds * 1000)}</p>
      </div>
      {error && <Failure text={error} retry={reload} />}
      <dl class="tallies big-tallies">
        <div><dt>patients</dt><dd>{data.patients}</dd></div>
        <div><dt>open flags</dt><dd>{data.openFlags}</dd></div>
        <div class={data.unacknowledged ? 'attention' : ''}><dt>not acknowledged</dt><dd>{data.unacknowledged}</dd></div>
        <div><dt>median time to acknowledge</dt><dd>{data.medianAcknowledgeSeconds === null ? '–' : duration(data.medianAcknowledgeSeconds * 1000)}</dd></div>
        <div class={data.overdue.length ? 'attention' : ''}><dt>overdue</dt><dd>{data.overdue.length}</dd></div>
      </dl>
      <div class="two">
        <section aria-labelledby="bands-head"><h2 id="bands-head">NEWS2 bands</h2>
          <table class="bars"><caption class="sr">Patients by NEWS2 band</caption>
            <thead class="sr"><tr><th scope="col">Band</th><th scope="col">Patients</th></tr></thead>
            <tbody>{['high', 'medium', 'low-medium', 'low'].map((band, i) => (
              <tr key={band}><th scope="row">{band}</th><td><span class="bar-row"><span class={`bar fill${3 - i}`} style={{ width: `${((data.bands[band] ?? 0) / most) * 70}%` }} /> {data.bands[band] ?? 0}</span></td></tr>
            ))}</tbody></table>
        </section>
        <section aria-labelledby="unit-head"><h2 id="unit-head">By unit</h2>
          <table><caption class="sr">Patients by unit</caption><thead><tr><th scope="col">Unit</th><th scope="col">Patients</th><th scope="col">High</th><th scope="col">Medium</th></tr></thead>
            <tbody>{data.byUnit.map((u) => <tr key={u.unit}><th scope="row">{u.unit || 'no unit'}</th><td>{u.patients}</td><td>{u.high}</td><td>{u.medium}</td></tr>)}</tbody></table>
        </section>
      </div>
      <section aria-labelledby="overdue-head"><h2 id="overdue-head">Overdue <span class="muted">as of {dayClock(data.asOf)}</span></h2>
        {data.overdue.length === 0 ? <p>Nothing was overdue.</p> : (
          <ul class="board">{data.overdue.map((row) => (
            <li key={row.patientId} class="card overdue-card"><div class="who"><h3>{mayAct() ? <Link to={`/patient/${encodeURIComponent(row.patientId)}`}>{row.name}</Link> : row.name}</h3><p class="bed">{row.location}</p></div><News2 row={row} />{row.flag && <FlagBadge flag={row.flag} item={row.item} />}</li>
          ))}</ul>
        )}
      </section>
    </>
  );
}
