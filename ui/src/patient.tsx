// patient.tsx -- one patient. Everything here is keyed by the patient's id: on a switch the page is
// blank until the new patient's own data is there, and an answer about somebody else is not shown.
import { signal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { api, mayAct } from './api';
import { Chart, type Line } from './chart';
import { age, clock, consciousnessText, DIASTOLIC, dayClock, number, percent, plainUnits, shownFrom, unitText, utcOffset, VITALS } from './logic';
import { items, now, rows } from './live';
import { theme } from './theme';
import { asking, Failure, FlagBadge, Heading, Link, Loading, News2, Risk, Score, useFetched, Age, WhoIs } from './ui';
import { WorkItem } from './worklist';
import type { PatientPage, Point, Row } from './types';

const hours = signal(24);

/** Why a value was rejected (docs/records.md). */
const REJECTED: Record<string, string> = {
  range: 'no living body has it', probe: 'the lead or probe is off', pair: 'the two pressures contradict each other',
  flat: 'the line or the device stands still', jump: 'far from the minute before, not yet confirmed',
};

const PARTS: Record<string, string> = {
  respiration: 'Respiration', spo2: 'Oxygen saturation', oxygen: 'Air or oxygen', systolic: 'Systolic blood pressure',
  pulse: 'Pulse', consciousness: 'Consciousness', temperature: 'Temperature',
};

function News2Table({ news2 }: { news2: NonNullable<PatientPage['news2']> }) {
  return (
    <table class="parts">
      <caption>NEWS2 by part{news2.singleThree ? ': one part alone is 3' : ''}</caption>
      <thead><tr><th scope="col">Part</th><th scope="col">Value</th><th scope="col">Age</th><th scope="col">Points</th></tr></thead>
      <tbody>{news2.parts.map((part) => {
        const value = part.part === 'consciousness' ? consciousnessText(part.text)
          : part.part === 'oxygen' && part.value === 0 ? 'air'
            : part.value !== undefined ? `${number(part.value, part.part === 'temperature' ? 1 : 0)} ${unitText(part.unit)}` : part.text ?? '–';
        return (
          <tr key={part.part} class={part.state === 'ok' ? '' : 'not-counted'}>
            <th scope="row">{PARTS[part.part] ?? part.part}</th>
            <td>{part.state === 'expired' ? <><s>{value}</s> <b class="old">expired</b></> : part.state === 'missing' ? <b class="old">missing</b> : value}</td>
            <td>{part.time ? <Age time={part.time} /> : '–'}</td>
            <td>{part.state === 'ok' ? <Score score={part.score} /> : <span class="muted">not counted</span>}</td>
          </tr>
        );
      })}</tbody>
    </table>
  );
}

function Model({ model }: { model: NonNullable<PatientPage['model']> }) {
  return (
    <section aria-labelledby="model-head">
      <h2 id="model-head">Model</h2>
      <p><b class="big">{percent(model.probability)}</b> {model.band} risk within {model.horizonHours} h <span class="muted">({model.name} {model.version}, <Link to="/model">model card</Link>)</span></p>
      {model.contributions.length > 0 && (
        <>
          <h3>Why</h3>
          <ul class="why">{model.contributions.map((c, i) => (
            <li key={i}><span class={c.value >= 0 ? 'push-up' : 'push-down'} aria-hidden="true">{c.value >= 0 ? '▲' : '▼'}</span> {plainUnits(c.text)} <span class="muted">{c.value >= 0 ? 'raises' : 'lowers'} the risk</span></li>
          ))}</ul>
        </>
      )}
    </section>
  );
}

function Charts({ page, from, to }: { page: PatientPage; from: number; to: number }) {
  const sorted = useMemo(() => {
    const pick = (code: string, name?: string): Line[] => {
      const series = page.series[code];
      return series && series.points.length ? [{ name: name ?? series.name, points: [...series.points].sort((a, b) => a[0] - b[0]) as Point[] }] : [];
    };
    return VITALS.filter((v) => v.key !== 'avpu').map((info) => ({
      info,
      lines: info.key === 'bp' ? [...pick('8480-6', 'systolic'), ...pick(DIASTOLIC, 'diastolic')] : info.codes.flatMap((code) => pick(code)).slice(0, 1),
    }));
  }, [page.series]);
  const scores = useMemo(() => {
    const byTime = [...page.scores].sort((a, b) => a[0] - b[0]);
    return {
      news: [{ name: 'at least', points: byTime.map((s) => [s[0], s[1]] as Point) }, { name: 'at most', points: byTime.map((s) => [s[0], s[2]] as Point), dash: [4, 4] }],
      risk: [{ name: 'risk', points: byTime.filter((s) => s[3] !== null).map((s) => [s[0], (s[3] as number) * 100] as Point) }],
    };
  }, [page.scores]);
  const common = { from, to, syncKey: 'patient', theme: theme.value };
  return (
    <div class="charts">
      <Chart {...common} title="NEWS2" unit="" digits={0} scale={[0, 12]} lines={scores.news} isRange />
      <Chart {...common} title="Model risk" unit="%" digits={1} scale={[0, 20]} lines={scores.risk} />
      {sorted.map(({ info, lines }) => (
        <Chart key={info.key} {...common} title={info.name} unit={info.unit} digits={info.digits} scale={info.scale} normal={info.key === 'bp' ? undefined : info.normal} lines={lines} isRange={info.key === 'bp'} />
      ))}
    </div>
  );
}

function askEnd(row: Row) {
  asking.value = {
    title: 'End monitoring?',
    confirm: 'End monitoring',
    field: { label: 'Why', name: 'text', isLong: true },
    children: (
      <>
        <WhoIs row={row} />
        <p>The patient leaves the board, open flags close and work items are resolved. A new vital sign brings the patient back.</p>
      </>
    ),
    act: async (text) => {
      const answer = await api<{ row: Row }>('POST', `/patients/${encodeURIComponent(row.patientId)}/end`, { body: { text } });
      rows.value = { ...rows.value, [row.patientId]: answer.row };
    },
  };
}

function OnePatient({ id }: { id: string }) {
  const live = rows.value[id];
  const isFirst = useRef(true);
  const key = `${id} ${hours.value}`;
  const { data, error, reload } = useFetched(key, () => {
    const isBackground = !isFirst.current;
    isFirst.current = false;
    return api<PatientPage>('GET', `/patients/${encodeURIComponent(id)}?hours=${hours.value}`, { isBackground });
  }, 15_000);
  // A new row means new values: fetched again, at most every other second.
  const lastLoad = useRef(0);
  useEffect(() => {
    if (!live || Date.now() - lastLoad.current < 2000) return;
    if (lastLoad.current) reload();
    lastLoad.current = Date.now();
  }, [live?.change]);

  if (error && !data) return <><Heading title="Patient">Patient</Heading><Failure text={error} retry={reload} /></>;
  if (!data) return <><Heading title="Patient">Patient</Heading><Loading what="the patient" /></>;
  if (data.row.patientId !== id) return <><Heading title="Patient">Patient</Heading><Failure text="The server answered for another patient. Nothing is shown." retry={reload} /></>;

  const row = live && live.change >= data.row.change ? live : data.row;
  const to = now.value - (now.value % 60_000) + 60_000;
  const earliest = Math.min(...Object.values(data.series).map((s) => s.points[0]?.[0] ?? Infinity), data.scores[0]?.[0] ?? Infinity);
  const from = shownFrom(earliest, to, hours.value);
  const itemsHere = data.items.map((item) => items.value[String(item.id)] ?? item);
  const avpu = data.vitals.find((v) => v.code === '80288-4');
  return (
    <article data-testid="patient-page" data-patient={id}>
      <div class="identity">
        <div>
          <Heading title="Patient">{row.name}</Heading>
          <p><b>{row.identifier ?? 'no identifier'}</b> · {row.ageYears !== undefined ? `${row.ageYears} y` : 'age unknown'} · {row.gender ?? 'sex unknown'} · <b>{row.location || 'no bed'}</b></p>
          <p class="muted">last reading {age(row.time, now.value)} ago · times in {utcOffset()}</p>
        </div>
        <div class="identity-scores">
          <div><span class="label">NEWS2</span><News2 row={row} /></div>
          <div><span class="label">Risk, 6 h</span><Risk risk={row.risk} band={row.riskBand} time={row.time} /></div>
          {row.flag && <FlagBadge flag={row.flag} item={row.item} />}
        </div>
      </div>
      {row.ended && <p class="notice" role="status" data-testid="ended">Monitoring ended at {dayClock(row.ended)}. The patient is not on the board; a new vital sign brings the patient back.</p>}
      {data.rejected?.map((v) => (
        <p class="notice" key={v.code} data-testid="rejected">Not counted: {v.name} <b>{number(v.value, 1)} {unitText(v.unit)}</b> at {clock(v.time)}, {REJECTED[v.reason] ?? v.reason}. The value before it stands until it expires. Look at the patient.</p>
      ))}
      {error && <Failure text={`Not up to date: ${error}`} retry={reload} />}
      <div class="columns">
        <div class="main-column">
          <div class="page-head">
            <h2>Trends</h2>
            <fieldset class="choice"><legend class="sr">Hours shown</legend>
              {[4, 12, 24, 72].map((h) => <label key={h}><input type="radio" name="hours" checked={hours.value === h} onChange={() => { hours.value = h; }} /><span>{h} h</span></label>)}
            </fieldset>
          </div>
          <Charts page={data} from={from} to={to} />
          <p class="muted">Shaded: where NEWS2 gives no points. Lines are broken where nothing was measured.{from > to - hours.value * 3600_000 && <> The record begins at {clock(earliest)}.</>}</p>
        </div>
        <div class="side-column">
          {itemsHere.length > 0 && <section aria-labelledby="work-head"><h2 id="work-head">To do</h2><ol class="worklist">{itemsHere.map((item) => <WorkItem key={item.id} item={item} isOnPatientPage />)}</ol></section>}
          <section aria-labelledby="news-head"><h2 id="news-head">NEWS2</h2>
            {data.news2 ? <News2Table news2={data.news2} /> : <p>No score yet.</p>}
            {avpu && <p class="muted">Consciousness: {consciousnessText(avpu.text)}, {clock(avpu.time)}</p>}
          </section>
          {data.model && <Model model={data.model} />}
          <section aria-labelledby="flags-head"><h2 id="flags-head">Flags</h2>
            {data.flags.length === 0 ? <p>None in this time.</p> : (
              <ul class="flags">{data.flags.map((flag) => (
                <li key={flag.id}><b>{flag.severity}</b> {plainUnits(flag.title)}<br /><span class="muted">opened {dayClock(flag.opened ?? '')}{flag.closed ? `, closed ${dayClock(flag.closed)}` : ', open'}</span></li>
              ))}</ul>
            )}
          </section>
          {mayAct() && !row.ended && <p><button type="button" data-testid="end-monitoring" onClick={() => askEnd(row)}>End monitoring…</button></p>}
        </div>
      </div>
    </article>
  );
}

export const Patient = ({ id }: { id: string }) => <OnePatient key={id} id={id} />;
