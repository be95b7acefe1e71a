// board.tsx -- step 15: who needs somebody first.
import { effect, signal } from '@preact/signals';
import type { VNode } from 'preact';
import { bandLevel, consciousnessText, DIASTOLIC, freshness, number, trendOf, unitText, VITALS, type VitalInfo } from './logic';
import { mayAct, me } from './api';
import { hasBoard, held, items, loadError, now, ordered, rows } from './live';
import { Age, Failure, FlagBadge, Heading, Link, Loading, News2, Risk, Spark } from './ui';
import type { Row } from './types';

const unit = signal('');
const search = signal('');
const onlyFlags = signal(false);

const TREND = [['↓', 'falling'], ['→', 'steady'], ['↑', 'rising']];

function VitalCell({ info, row }: { info: VitalInfo; row: Row }) {
  const code = info.codes.find((c) => row.vitals[c]) ?? info.codes[0];
  const vital = row.vitals[code];
  const state = freshness(vital, info, now.value);
  if (state === 'missing') return <div class="vital missing"><dt><abbr title={info.name}>{info.short}</abbr></dt><dd><span class="vital-value">–</span> <span class="vital-age">none yet</span></dd></div>;
  const points = row.spark?.[code];
  const trend = TREND[trendOf(points) + 1];
  const isMoving = trend !== TREND[1];
  let value = vital.text !== undefined && vital.value === undefined ? consciousnessText(vital.text) : number(vital.value, info.digits);
  if (info.key === 'bp') value += `/${number(row.vitals[DIASTOLIC]?.value, 0)}`;
  const isOld = state !== 'ok';
  return (
    <div class={`vital vital-${info.key} ${state}`}>
      <dt><abbr title={info.name}>{info.short}</abbr> {info.key !== 'avpu' && <span class="vital-unit">{unitText(vital.unit) || info.unit}</span>}</dt>
      <dd>
        <span class="vital-line">
          <span class="vital-value">{isOld ? <s>{value}</s> : value}</span>
          {isMoving && !isOld && <span class="vital-trend" title={trend[1]}><span aria-hidden="true">{trend[0]}</span><span class="sr">{trend[1]}</span></span>}
        </span>
        {info.key !== 'avpu' && <Spark points={points} />}
        <span class="vital-age">{isOld && <b class="old">{state}</b>}<Age time={vital.time} /><span class="sr"> old</span></span>
      </dd>
    </div>
  );
}

function BoardRow({ row }: { row: Row }) {
  return (
    <li class={`card ${row.flag ? `has-flag flagged-${row.flag.severity}` : ''}`} data-testid="board-row" data-patient={row.patientId}>
      <div class="who">
        <h2>{mayAct() ? <Link to={`/patient/${encodeURIComponent(row.patientId)}`} class="patient-link">{row.name}</Link> : row.name}</h2>
        <p class="bed">{row.location || 'no bed'}</p>
        <p class="muted">{row.ageYears !== undefined ? `${row.ageYears} y` : ''} {row.gender ?? ''}{row.identifier ? ` · ${row.identifier}` : ''}</p>
        <p class="muted">last reading <Age time={row.time} /> ago</p>
      </div>
      <div class="scores">
        <div><span class="label">NEWS2</span><News2 row={row} /></div>
        <div><span class="label">Risk, 6 h</span><Risk risk={row.risk} band={row.riskBand} time={row.time} /></div>
      </div>
      <dl class="vitals">{VITALS.map((info) => <VitalCell key={info.key} info={info} row={row} />)}</dl>
      <div class="flag-cell">{row.flag ? <FlagBadge flag={row.flag} item={row.item} /> : <span class="muted no-flag">No flag</span>}</div>
    </li>
  );
}

// A row that has not changed is not built again: Preact leaves the same node alone. Ages in it follow
// the clock by themselves.
let built = new WeakMap<Row, VNode>();
effect(() => {
  void me.value; // another person may see other things
  built = new WeakMap();
});
function rowOf(row: Row): VNode {
  const node = built.get(row) ?? <BoardRow key={row.patientId} row={row} />;
  built.set(row, node);
  return node;
}

export function Board() {
  const all = ordered.value;
  const units = [...new Set(all.map((row) => row.unit).filter(Boolean))].sort();
  const text = search.value.trim().toLowerCase();
  const list = all.filter((row) => (!unit.value || row.unit === unit.value) && (!onlyFlags.value || row.flag)
    && (!text || `${row.name} ${row.location} ${row.identifier ?? ''}`.toLowerCase().includes(text)));
  const inUnit = all.filter((row) => !unit.value || row.unit === unit.value);
  const count = (test: (row: Row) => boolean) => inUnit.filter(test).length;
  const unacknowledged = Object.values(items.value).filter((item) => item.state === 'open' || item.state === 'escalated').length;
  return (
    <>
      <div class="page-head">
        <Heading>Board</Heading>
        <dl class="tallies" aria-label="Summary">
          <div><dt>patients</dt><dd>{inUnit.length}</dd></div>
          <div><dt>NEWS2 high</dt><dd>{count((r) => bandLevel(r.news2?.band) === 3)}</dd></div>
          <div><dt>NEWS2 medium</dt><dd>{count((r) => bandLevel(r.news2?.band) === 2)}</dd></div>
          <div><dt>open flags</dt><dd>{count((r) => !!r.flag)}</dd></div>
          <div class={unacknowledged ? 'attention' : ''}><dt>not acknowledged</dt><dd>{unacknowledged}</dd></div>
        </dl>
        <form class="filters" role="search" onSubmit={(e) => e.preventDefault()}>
          <label>Unit <select value={unit.value} onChange={(e) => { unit.value = e.currentTarget.value; }}>
            <option value="">all</option>{units.map((u) => <option key={u} value={u}>{u}</option>)}
          </select></label>
          <label>Find <input type="search" value={search.value} onInput={(e) => { search.value = e.currentTarget.value; }} size={14} autoComplete="off" /></label>
          <label class="check"><input type="checkbox" checked={onlyFlags.value} onChange={(e) => { onlyFlags.value = e.currentTarget.checked; }} /> only with a flag</label>
        </form>
      </div>
      {!hasBoard.value && (loadError.value ? <Failure text={loadError.value} /> : <Loading what="the board" />)}
      {hasBoard.value && list.length === 0 && <p class="empty">{all.length ? 'No patient fits the filter.' : 'No patient has a reading yet. The board fills by itself.'}</p>}
      {held.value && <p class="held" role="status">The order stands still while you are in the list.</p>}
      <ol class="board" data-testid="board" aria-label="Patients by acuity"
        onFocusIn={(e) => { if ((e.target as Element).matches(':focus-visible') && !held.value) held.value = Object.values(ordered.value).map((r) => r.patientId); }}
        onFocusOut={(e) => { if (!e.currentTarget.contains(e.relatedTarget as Node | null)) held.value = null; }}>
        {list.map(rowOf)}
      </ol>
      {hasBoard.value && <p class="muted foot">{Object.keys(rows.value).length} patients, ordered by open flag, NEWS2, risk. NEWS2 “5–8” means: 5 with what is known, 8 at most when the missing parts come.</p>}
    </>
  );
}
