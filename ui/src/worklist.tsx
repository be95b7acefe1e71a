// worklist.tsx -- step 17: what somebody must do, and who does it.
import { signal } from '@preact/signals';
import { api, mayAct, me } from './api';
import { byUrgency, clock, dayClock, duration, isItemOpen, isSnoozed, plainUnits } from './logic';
import { hasBoard, items, loadError, now, putItem, rows } from './live';
import { asking, Age, Failure, Heading, Link, Loading, Severity, stateText, WhoIs } from './ui';
import type { Item } from './types';

const filter = signal<'open' | 'mine' | 'all'>('open');

type What = 'acknowledge' | 'assign' | 'note' | 'escalate' | 'snooze' | 'resolve';
const ACTS: { what: What; label: string; title: string; confirm: string; field?: { label: string; name: string; isLong?: boolean } }[] = [
  { what: 'acknowledge', label: 'Acknowledge', title: 'Acknowledge this flag?', confirm: 'Acknowledge' },
  { what: 'assign', label: 'Assign…', title: 'Assign to somebody', confirm: 'Assign', field: { label: 'Assign to (user)', name: 'assignee' } },
  { what: 'note', label: 'Note…', title: 'Write a note', confirm: 'Save note', field: { label: 'Note', name: 'text', isLong: true } },
  { what: 'escalate', label: 'Escalate…', title: 'Escalate to the next team?', confirm: 'Escalate', field: { label: 'Reason', name: 'text', isLong: true } },
  { what: 'snooze', label: 'Snooze…', title: 'Snooze this flag?', confirm: 'Snooze', field: { label: 'Minutes (1 to 480)', name: 'minutes' } },
  { what: 'resolve', label: 'Resolve…', title: 'Resolve this item?', confirm: 'Resolve', field: { label: 'What was done', name: 'text', isLong: true } },
];

// A number is sent as one; anything else goes as it is, and the server says what it expected.
const minutesOf = (text?: string) => (/^\s*\d+\s*$/.test(text ?? '') ? Number(text) : text);

function ask(item: Item, act: (typeof ACTS)[number]) {
  asking.value = {
    title: act.title,
    confirm: act.confirm,
    field: act.field && { ...act.field, value: act.what === 'assign' ? me.value?.user.name : act.what === 'snooze' ? '30' : '' },
    children: (
      <>
        <WhoIs row={rows.value[item.patientId]} item={item} />
        <p><Severity severity={item.severity} /> {plainUnits(item.title)}</p>
        {act.what === 'snooze' && <p>It comes back when the time is over, and at once if the patient gets worse.</p>}
      </>
    ),
    act: async (text) => {
      const body = act.what === 'assign' ? { assignee: text } : act.what === 'snooze' ? { minutes: minutesOf(text) } : act.field ? { text } : undefined;
      const answer = await api<{ item: Item | null }>('POST', `/worklist/${item.id}/${act.what}`, { body });
      putItem(answer.item);
    },
  };
}

function Due({ item }: { item: Item }) {
  const left = Date.parse(item.dueTime) - now.value;
  if (!isItemOpen(item) || !Number.isFinite(left)) return null;
  if (isSnoozed(item, now.value)) return <span class="state">snoozed until {clock(item.snoozedUntil!)}</span>;
  if (item.state !== 'open' && item.state !== 'escalated') return <span class="muted">due {clock(item.dueTime)}</span>;
  return left < 0
    ? <span class="overdue"><b>overdue</b> by {duration(-left)}</span>
    : <span>due in {duration(left)} <span class="muted">({clock(item.dueTime)})</span></span>;
}

export function WorkItem({ item, isOnPatientPage }: { item: Item; isOnPatientPage?: boolean }) {
  const isOpen = isItemOpen(item);
  return (
    <li class={`work work-${item.severity} ${isOpen ? '' : 'done'}`} data-testid="work-item" data-item={item.id} data-state={item.state}>
      <div class="work-head">
        <Severity severity={item.severity} />
        {!isOnPatientPage && <h2>{mayAct() ? <Link to={`/patient/${encodeURIComponent(item.patientId)}`}>{item.name}</Link> : item.name} <span class="bed">{item.location}</span></h2>}
        <span class={`state state-${item.state}`}>{stateText(item.state)}{item.assignee ? ` · ${item.assignee}` : ''}</span>
      </div>
      <p class="work-title">{plainUnits(item.title)}</p>
      <p class="work-times">
        opened <Age time={item.opened} /> ago <span class="muted">({clock(item.opened)})</span> · <Due item={item} />
        {item.acknowledgedBy && <> · acknowledged by <b>{item.acknowledgedBy}</b>{item.acknowledged && <> at {clock(item.acknowledged)}</>}</>}
        {isOpen && !item.flagOpen && <> · <span class="state">the flag has closed by itself</span></>}
      </p>
      {mayAct() && isOpen && (
        <div class="work-buttons">
          {ACTS.filter((act) => act.what !== 'acknowledge' || !item.acknowledged).map((act) => (
            <button key={act.what} type="button" class={act.what === 'acknowledge' ? 'primary' : ''} data-testid={act.what === 'acknowledge' ? 'ack-button' : `${act.what}-button`}
              aria-label={`${act.label.replace('…', '')}: ${item.name}, ${item.title}`} onClick={() => ask(item, act)}>{act.label}</button>
          ))}
        </div>
      )}
      {item.history.length > 0 && (
        <details>
          <summary>History ({item.history.length})</summary>
          <ol class="history">{item.history.map((h, i) => <li key={i}><time dateTime={h.time}>{dayClock(h.time)}</time> <b>{h.user}</b> {h.what}{h.text ? `: ${h.text}` : ''}</li>)}</ol>
        </details>
      )}
    </li>
  );
}

export function Worklist() {
  const name = me.value?.user.name;
  const list = Object.values(items.value)
    .filter((item) => filter.value === 'all' || (isItemOpen(item) && (filter.value === 'open' || item.assignee === name || item.acknowledgedBy === name)))
    .sort(byUrgency);
  return (
    <>
      <div class="page-head">
        <Heading>Worklist</Heading>
        <fieldset class="choice"><legend class="sr">Show</legend>
          {(['open', 'mine', 'all'] as const).map((f) => (
            <label key={f}><input type="radio" name="filter" checked={filter.value === f} onChange={() => { filter.value = f; }} /><span>{{ open: 'Open', mine: 'Mine', all: 'All' }[f]}</span></label>
          ))}
        </fieldset>
      </div>
      {!hasBoard.value && (loadError.value ? <Failure text={loadError.value} /> : <Loading what="the worklist" />)}
      {hasBoard.value && list.length === 0 && <p class="empty">{filter.value === 'mine' ? 'Nothing is assigned to you.' : 'Nothing is open.'}</p>}
      <ol class="worklist" data-testid="worklist" aria-label="Work items, most urgent first">{list.map((item) => <WorkItem key={item.id} item={item} />)}</ol>
    </>
  );
}
