// chart.tsx -- a vital sign over time. uPlot draws; the keyboard, the words and the table are ours:
// a canvas says nothing to who cannot see it.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { clock, dayClock, number, withGaps } from './logic';
import type { Point } from './types';

export type Line = { name: string; points: Point[]; dash?: number[] };
type Props = {
  title: string; unit: string; digits: number; lines: Line[]; from: number; to: number;
  scale: [number, number]; normal?: [number, number]; syncKey: string; isRange?: boolean; theme: string;
};

const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const PAGE = 50;

function Table({ title, unit, digits, lines, isRange }: Props) {
  const [page, setPage] = useState(0);
  const times = [...new Set(lines.flatMap((line) => line.points.map((p) => p[0])))].sort((a, b) => b - a);
  const maps = lines.map((line) => new Map(line.points));
  const shown = times.slice(page * PAGE, (page + 1) * PAGE);
  return (
    <>
      <div class="scroll" tabIndex={0} role="region" aria-label={`${title}, values`}>
        <table>
          <caption class="sr">{title}{unit && `, ${unit}`}, newest first</caption>
          <thead><tr><th scope="col">Time</th>{lines.map((line) => <th key={line.name} scope="col">{line.name}</th>)}</tr></thead>
          <tbody>{shown.map((t) => <tr key={t}><th scope="row">{dayClock(t)}</th>{maps.map((map, i) => <td key={i}>{number(map.get(t), digits)}</td>)}</tr>)}</tbody>
        </table>
      </div>
      {times.length > PAGE && (
        <p class="pager">
          <button type="button" disabled={page === 0} onClick={() => setPage(page - 1)}>Newer</button>
          <span>{page * PAGE + 1}–{Math.min(times.length, (page + 1) * PAGE)} of {times.length}</span>
          <button type="button" disabled={(page + 1) * PAGE >= times.length} onClick={() => setPage(page + 1)}>Older</button>
        </p>
      )}
      {isRange && <p class="muted">Systolic is scored.</p>}
    </>
  );
}

export function Chart(props: Props) {
  const { title, unit, digits, lines, from, to, scale, normal, syncKey, isRange, theme } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  const [said, setSaid] = useState('');
  const [isTableOpen, setTableOpen] = useState(false);
  const id = `chart-${title.replace(/\W+/g, '-')}`;
  const data = useMemo(() => uPlot.join(lines.map((line) => withGaps(line.points) as uPlot.AlignedData)) as uPlot.AlignedData, [lines]);
  const total = lines.reduce((sum, line) => sum + line.points.length, 0);

  // What the plot reads when it draws; new values do not make a new plot, so the cursor stays.
  const view = useRef({ from, to });
  view.current.from = from;
  view.current.to = to;
  const at = useRef<number | null>(null); // the cursor's time in seconds
  const isMoving = useRef(false);

  useEffect(() => {
    const element = host.current;
    if (!element || !total) return;
    const ink = colour('--muted');
    const grid = colour('--line');
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: '12px system-ui' };
    const options: uPlot.Options = {
      width: element.clientWidth, height: 150, legend: { show: false }, padding: [8, 8, 0, 0],
      cursor: { sync: { key: syncKey }, y: false, drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: () => [view.current.from / 1000, view.current.to / 1000] },
        y: { range: (_u, low, high) => [Math.min(scale[0], low ?? scale[0]), Math.max(scale[1], high ?? scale[1])] },
      },
      axes: [
        { ...axis, size: 28, space: 64, values: (_u, ticks) => ticks.map((t) => clock(t * 1000)) },
        { ...axis, size: 44 },
      ],
      series: [{}, ...lines.map((line, i): uPlot.Series => ({
        label: line.name, stroke: colour(i ? '--chart-2' : '--chart-1'), width: 1.8, dash: line.dash, spanGaps: false,
        points: { show: (_u, _i, from, to) => to - from < 40, size: 5 },
      }))],
      bands: isRange && lines.length > 1 ? [{ series: [1, 2], fill: colour('--chart-band') }] : undefined,
      hooks: {
        drawClear: [(u) => { // where NEWS2 gives no points
          if (!normal) return;
          const top = u.valToPos(normal[1], 'y', true);
          const bottom = u.valToPos(normal[0], 'y', true);
          u.ctx.fillStyle = colour('--chart-normal');
          const y0 = Math.max(u.bbox.top, Math.min(top, bottom));
          const y1 = Math.min(u.bbox.top + u.bbox.height, Math.max(top, bottom));
          if (y1 > y0) u.ctx.fillRect(u.bbox.left, y0, u.bbox.width, y1 - y0);
        }],
        setCursor: [(u) => {
          if (isMoving.current) return;
          const index = u.cursor.idx ?? null;
          at.current = index === null ? null : (u.data[0][index] ?? null);
          setCursor(index);
        }],
      },
    };
    const made = new uPlot(options, data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: 150 }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [theme, lines.length, total === 0]);

  useEffect(() => {
    const u = plot.current;
    if (!u) return;
    isMoving.current = true;
    u.setData(data);
    const index = at.current === null ? -1 : (data[0] as number[]).indexOf(at.current);
    if (index >= 0) u.setCursor({ left: u.valToPos(at.current as number, 'x'), top: 10 }, false);
    isMoving.current = false;
    setCursor(index >= 0 ? index : null);
  }, [data, from, to]);

  const describe = (index: number | null) => {
    if (index === null) return '';
    const time = (data[0] as number[])[index];
    const values = lines.map((line, i) => [line.name, (data[i + 1] as (number | null | undefined)[])[index]] as const).filter(([, v]) => v !== null && v !== undefined);
    if (time === undefined || !values.length) return '';
    return `${clock(time * 1000, true)}  ${values.map(([name, v]) => (lines.length > 1 ? `${name} ` : '') + number(v, digits)).join(', ')} ${unit}`;
  };
  const step = (event: KeyboardEvent) => {
    const times = data[0] as number[];
    const u = plot.current;
    const moves: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (!u || !times.length) return;
    let index = cursor ?? times.length;
    if (event.key in moves) index += moves[event.key];
    else if (event.key === 'Home') index = 0;
    else if (event.key === 'End') index = times.length - 1;
    else return;
    event.preventDefault();
    const direction = event.key === 'ArrowRight' || event.key === 'PageDown' || event.key === 'Home' ? 1 : -1;
    index = Math.max(0, Math.min(times.length - 1, index));
    while (index > 0 && index < times.length - 1 && !describe(index)) index += direction; // over the gaps
    isMoving.current = true;
    u.setCursor({ left: u.valToPos(times[index], 'x'), top: 10 });
    isMoving.current = false;
    at.current = times[index];
    setCursor(index);
  };
  // Said when the key rests, not at each step.
  useEffect(() => {
    const timer = setTimeout(() => setSaid(document.activeElement?.id === id ? describe(cursor) : ''), 250);
    return () => clearTimeout(timer);
  }, [cursor]);

  const last = lines[0]?.points[lines[0].points.length - 1];
  return (
    <figure class="chart">
      <figcaption><b>{title}</b> {unit && <span class="muted">{unit}</span>} <span class="chart-cursor">{describe(cursor)}</span></figcaption>
      {total === 0 ? <p class="chart-empty">No values in this time.</p> : (
        <>
          <div id={id} class="chart-surface" ref={host} tabIndex={0} role="group" aria-roledescription="chart" aria-details={`${id}-table`}
            aria-label={`${title}, ${total} values${last ? `, latest ${number(last[1], digits)} ${unit} at ${clock(last[0])}` : ''}. Arrow keys move through the values.`}
            onKeyDown={step} onBlur={() => { plot.current?.setCursor({ left: -10, top: -10 }); at.current = null; setCursor(null); }} />
          <div class="sr" aria-live="polite">{said}</div>
          <details id={`${id}-table`} onToggle={(e) => setTableOpen(e.currentTarget.open)}>
            <summary>As a table</summary>
            {isTableOpen && <Table {...props} />}
          </details>
        </>
      )}
    </figure>
  );
}
