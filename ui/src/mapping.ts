// mapping.ts -- what the workbench thinks: places in a text, the difference of two mappings in words,
// and JSON whose numbers keep their digits.

// JSON.parse would make 37.0 of a reading 37: numbers become marked strings here, and numbers again there.
const MARK = '\u0001';
export const parseExact = (text: string): unknown =>
  JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) => (token[0] === '"' ? token : JSON.stringify(MARK + token))));
export const writeExact = (value: unknown): string =>
  (JSON.stringify(value, null, 2) ?? '').replace(/"\\u0001([^"]*)"/g, '$1');
export function pretty(text: string): string {
  try { return writeExact(parseExact(text)); } catch { return text; }
}

// Where line and column (both from 1, a column is a byte of UTF-8) are in the text.
export function offsetOf(text: string, line: number, column: number): number {
  let at = 0;
  for (let n = 1; n < line; n++) {
    const end = text.indexOf('\n', at);
    if (end < 0) return text.length;
    at = end + 1;
  }
  let bytes = 1;
  while (at < text.length && text[at] !== '\n' && bytes < column) {
    const code = text.codePointAt(at)!;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    at += code < 0x10000 ? 1 : 2;
  }
  return at;
}

type Flat = Map<string, string>;
type Template = { type: string; parts: Flat };

// Elements of a list are told apart by what names them, so that one more at the front changes one line.
const nameOf = (value: unknown, index: number) => {
  const v = value as Record<string, unknown> | null;
  const name = v && typeof v === 'object' ? v.valueName ?? (v.value as Record<string, unknown> | undefined)?.valueName ?? v.code : undefined;
  return typeof name === 'string' ? `"${name}"` : String(index + 1);
};
function flatten(value: unknown, path: string, into: Flat) {
  if (value !== null && typeof value === 'object')
    for (const [key, v] of Array.isArray(value) ? value.map((v, i) => [nameOf(v, i), v] as const) : Object.entries(value)) flatten(v, path ? `${path} ${key}` : key, into);
  else into.set(path, String(value).replace(MARK, ''));
}

// The templates of a mapping, or null when its JSON is not strict (the connector reads more).
export function templatesOf(text: string): Template[] | null {
  try {
    const root = parseExact(text) as { template?: unknown };
    if (!Array.isArray(root.template)) return null;
    return root.template.map((entry) => {
      const inner = (entry as { template?: Record<string, unknown> }).template ?? {};
      const parts: Flat = new Map();
      flatten({ ...(entry as object), template: undefined, ...inner }, '', parts);
      parts.delete('template');
      return { type: String(inner.typeName ?? '?'), parts };
    });
  } catch { return null; }
}

const short = (text: string | undefined) => (text === undefined ? 'nothing' : text.length > 60 ? `${text.slice(0, 57)}…` : text || 'empty');

function linesBetween(name: string, before: string, after: string): string[] {
  const count = (text: string) => text.split('\n').reduce((all, line) => all.set(line.trim(), (all.get(line.trim()) ?? 0) + 1), new Map<string, number>());
  const [a, b] = [count(before), count(after)];
  const more = (x: Map<string, number>, y: Map<string, number>) => [...x].reduce((sum, [line, n]) => sum + Math.max(0, n - (y.get(line) ?? 0)), 0);
  const [added, removed] = [more(b, a), more(a, b)];
  return [added + removed ? `${name}: lines added ${added}, taken away ${removed}` : `${name}: blanks or the order of lines only`];
}

function compare(name: string, before: string, after: string): string[] {
  if (before === after) return [];
  const [old, now] = [templatesOf(before), templatesOf(after)];
  const key = (list: Template[]) => new Map(list.map((t, i) => [`${t.type}/${list.slice(0, i).filter((o) => o.type === t.type).length}`, t]));
  if (!old || !now) return linesBetween(name, before, after);
  const [a, b] = [key(old), key(now)];
  const said: string[] = [];
  for (const [k, t] of b) {
    const was = a.get(k);
    if (!was) said.push(`${name}: new template “${t.type}”`);
    else
      for (const part of new Set([...was.parts.keys(), ...t.parts.keys()]))
        if (was.parts.get(part) !== t.parts.get(part)) said.push(`${name}, template “${t.type}”: ${part} becomes ${short(t.parts.get(part))}, was ${short(was.parts.get(part))}`);
  }
  for (const [k, t] of a) if (!b.has(k)) said.push(`${name}: template “${t.type}” is taken away`);
  return said.length ? said : linesBetween(name, before, after);
}

export type Pair = { device: string; fhir: string };
export const differences = (before: Pair, after: Pair): string[] =>
  [...compare('Device mapping', before.device, after.device), ...compare('FHIR mapping', before.fhir, after.fhir)];
