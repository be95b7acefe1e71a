// plot.tsx -- small plots as inline SVG, for figures that do not move: curves, days, shares. Each has its
// values as a table, because a drawing says nothing to who cannot see it; lines differ in dashes, not in
// colour alone.
import type { ComponentChildren } from 'preact';

export type XY = [number, number];
export type Series = { name: string; points: XY[]; isSecond?: boolean; hasDots?: boolean };
type Axis = { name: string; max: number; min?: number; format: (value: number) => string };

const LEFT = 42, TOP = 26, WIDTH = 264, HEIGHT = 180, RIGHT = 20, BOTTOM = 36;

/** At least the value, and a quarter of it is a short number: axes have four steps. */
export function roundUp(value: number) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return Number((([1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8].find((step) => step * power >= value * 0.9999) ?? 10) * power).toPrecision(3));
}
/** Numbers of such an axis, with a digit behind the point where a quarter needs one. */
export const plainAxis = (name: string, max: number): Axis => ({ name, max, format: (v) => v.toFixed(max / 4 >= 1 && (max / 4) % 1 < 1e-9 ? 0 : max < 0.8 ? 2 : 1) });
export const shareAxis = (name: string, max = 1): Axis => ({ name, max, format: (v) => `${(v * 100).toFixed(Math.abs(max * 25 - Math.round(max * 25)) < 1e-9 ? 0 : 1)} %` });

export function Values({ head, rows, label }: { head: string[]; rows: (string | number)[][]; label: string }) {
  return (
    <details class="values"><summary>Values<span class="sr"> of {label}</span></summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={`${label}, values`}><table><caption class="sr">{label}</caption>
        <thead><tr>{head.map((h) => <th key={h} scope="col">{h}</th>)}</tr></thead>
        <tbody>{rows.map((row, i) => <tr key={i}>{row.map((v, k) => (k ? <td key={k}>{v}</td> : <th key={k} scope="row">{v}</th>))}</tr>)}</tbody></table></div>
    </details>
  );
}

type Marks = { at: number; name: string; isAlarm?: boolean }[];

function Frame({ x, y, label, children, xTicks, marks = [] }: { x: Axis; y: Axis; label: string; children: ComponentChildren; xTicks?: XY[] | [number, string][]; marks?: Marks }) {
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const place = (v: number) => TOP + HEIGHT * (1 - Math.min(1, v / y.max));
  return (
    <svg class="plot" viewBox={`0 0 ${LEFT + WIDTH + RIGHT} ${TOP + HEIGHT + BOTTOM}`} role="img" aria-label={label}>
      <text class="plot-name" x="4" y="12">{y.name}</text>
      {ticks.map((t) => (
        <g key={t}>
          <line class="plot-grid" x1={LEFT} x2={LEFT + WIDTH} y1={TOP + HEIGHT * (1 - t)} y2={TOP + HEIGHT * (1 - t)} />
          <text class="plot-tick" x={LEFT - 6} y={TOP + HEIGHT * (1 - t) + 4} text-anchor="end">{y.format(t * y.max)}</text>
          {!xTicks && <text class="plot-tick" x={LEFT + WIDTH * t} y={TOP + HEIGHT + 15} text-anchor="middle">{x.format((x.min ?? 0) + t * (x.max - (x.min ?? 0)))}</text>}
        </g>
      ))}
      {xTicks?.map(([at, text]) => <text key={text} class="plot-tick" x={at} y={TOP + HEIGHT + 15} text-anchor="middle">{text}</text>)}
      <text class="plot-name" x={LEFT + WIDTH / 2} y={TOP + HEIGHT + 31} text-anchor="middle">{x.name}</text>
      {children}
      {marks.filter((m) => m.at <= y.max).map((m) => (
        <g key={m.name}>
          <line class={m.isAlarm ? 'plot-mark plot-mark-alarm' : 'plot-mark'} x1={LEFT} x2={LEFT + WIDTH} y1={place(m.at)} y2={place(m.at)} />
          <text class="plot-mark-name" x={LEFT + WIDTH - 3} y={place(m.at) - 4} text-anchor="end">{m.name}</text>
        </g>
      ))}
    </svg>
  );
}

/** A figure: title, drawing, what to read from it, values. */
export function Figure({ title, note, children }: { title: string; note?: ComponentChildren; children: ComponentChildren }) {
  return <figure class="figure"><figcaption><b>{title}</b>{note && <span class="muted">{note}</span>}</figcaption>{children}</figure>;
}

export function Curves({ title, note, x, y, series, hasDiagonal, marks }: { title: string; note?: ComponentChildren; x: Axis; y: Axis; series: Series[]; hasDiagonal?: boolean; marks?: Marks }) {
  const px = (v: number) => LEFT + WIDTH * Math.max(0, Math.min(1, (v - (x.min ?? 0)) / (x.max - (x.min ?? 0) || 1)));
  const py = (v: number) => TOP + HEIGHT * (1 - Math.max(0, Math.min(1, v / y.max)));
  const rows = series.flatMap((s) => s.points.map((p) => (series.length > 1 ? [s.name, x.format(p[0]), y.format(p[1])] : [x.format(p[0]), y.format(p[1])])));
  return (
    <Figure title={title} note={note}>
      <Frame x={x} y={y} label={`${title}: ${y.name} over ${x.name}`} marks={marks}>
        {hasDiagonal && <line class="plot-chance" x1={LEFT} y1={TOP + HEIGHT} x2={px(Math.min(x.max, y.max))} y2={py(Math.min(x.max, y.max))} />}
        {series.map((s) => (
          <g key={s.name} class={s.isSecond ? 'plot-second' : 'plot-first'}>
            {s.points.length > 1 && <polyline class="plot-line" points={s.points.map(([a, b]) => `${px(a).toFixed(1)},${py(b).toFixed(1)}`).join(' ')} />}
            {s.hasDots && s.points.map(([a, b], i) => <circle key={i} class="plot-dot" cx={px(a)} cy={py(b)} r="3.2" />)}
          </g>
        ))}
      </Frame>
      {series.length > 1 && <p class="plot-keys">{series.map((s) => <span key={s.name} class={s.isSecond ? 'plot-key plot-key-second' : 'plot-key'}>{s.name}</span>)}</p>}
      <Values label={title} head={series.length > 1 ? ['Line', x.name, y.name] : [x.name, y.name]} rows={rows} />
    </Figure>
  );
}

/** Columns side by side; the second of a pair is hatched by its outline. */
export function Columns({ title, note, names, xName, y, first, second, marks }: {
  title: string; note?: ComponentChildren; names: string[]; xName: string; y: Axis;
  first: { name: string; values: number[] }; second?: { name: string; values: number[] }; marks?: Marks;
}) {
  const step = WIDTH / Math.max(1, names.length);
  const wide = Math.min(26, step * (second ? 0.36 : 0.62));
  const top = (v: number) => TOP + HEIGHT * (1 - Math.max(0, Math.min(1, v / y.max)));
  const every = Math.ceil(names.length / 8);
  const bar = (i: number, v: number, dx: number, kind: string) => <rect key={`${kind}${i}`} class={kind} x={LEFT + step * (i + 0.5) + dx - wide / 2} width={wide} y={top(v)} height={Math.max(0, TOP + HEIGHT - top(v))} />;
  return (
    <Figure title={title} note={note}>
      <Frame x={{ name: xName, max: 1, format: String }} y={y} label={`${title}: ${y.name} by ${xName}`} marks={marks}
        xTicks={names.flatMap((n, i): [number, string][] => (i % every ? [] : [[LEFT + step * (i + 0.5), n]]))}>
        {second && second.values.map((v, i) => bar(i, v, -wide * 0.52, 'plot-bar-second'))}
        {first.values.map((v, i) => bar(i, v, second ? wide * 0.52 : 0, 'plot-bar'))}
      </Frame>
      {second && <p class="plot-keys"><span class="plot-key plot-key-box2">{second.name}</span><span class="plot-key plot-key-box">{first.name}</span></p>}
      <Values label={title} head={[xName, ...(second ? [second.name] : []), first.name]} rows={names.map((n, i) => [n, ...(second ? [y.format(second.values[i])] : []), y.format(first.values[i])])} />
    </Figure>
  );
}
