// mapping.test.mjs -- places, differences in words and exact numbers, without a browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build } from 'esbuild';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const made = await build({ entryPoints: [join(here, '../src/mapping.ts')], bundle: true, write: false, format: 'esm' });
const mapping = await import(`data:text/javascript;base64,${Buffer.from(made.outputFiles[0].text).toString('base64')}`);

const template = (typeName, more = {}) => ({ templateType: 'CalculatedContent', template: { typeName, typeMatchExpression: '$..[?(@hr)]', values: [{ valueName: 'hr', valueExpression: '$.hr' }], ...more } });
const device = (...templates) => JSON.stringify({ templateType: 'CollectionContent', template: templates });

test('numbers keep their digits', () => {
  const text = '{"a":37.0,"b":[1e3,-0.10],"c":"1.0 \\" 2.0","d":12345678901234567890,"e":""}';
  assert.equal(mapping.pretty(text).replace(/\s+/g, ''), text.replace(/\s+/g, ''));
  assert.equal(mapping.pretty('{"a":'), '{"a":');
});

test('a place is found by line and byte', () => {
  const text = '{\n  "ä": "x😀y",\n}';
  for (const [line, column, found] of [[1, 1, '{'], [2, 3, '"'], [2, 7, ':'], [2, 14, 'y'], [9, 1, undefined]])
    assert.equal(text[mapping.offsetOf(text, line, column)], found, `${line}:${column}`);
  assert.equal(mapping.offsetOf('ab\ncd', 1, 99), 2); // never beyond its line
});

test('a difference is told in words', () => {
  const before = { device: device(template('pulse'), template('spo2')), fhir: '{}' };
  const rows = [
    [before, []],
    [{ ...before, device: device(template('pulse')) }, ['Device mapping: template “spo2” is taken away']],
    [{ ...before, device: device(template('pulse'), template('spo2'), template('rr')) }, ['Device mapping: new template “rr”']],
    [{ ...before, device: device(template('pulse', { typeMatchExpression: '$.x' }), template('spo2')) }, ['Device mapping, template “pulse”: typeMatchExpression becomes $.x, was $..[?(@hr)]']],
    [{ ...before, device: device(template('pulse', { values: [{ valueName: 'new', valueExpression: '$.n' }, { valueName: 'hr', valueExpression: '$.hr' }] }), template('spo2')) },
      ['Device mapping, template “pulse”: values "new" valueName becomes new, was nothing', 'Device mapping, template “pulse”: values "new" valueExpression becomes $.n, was nothing']],
    [{ ...before, device: `${before.device}\n` }, ['Device mapping: lines added 1, taken away 0']],
    [{ ...before, fhir: '{ // lenient\n}' }, ['FHIR mapping: lines added 2, taken away 1']],
  ];
  for (const [after, said] of rows) assert.deepEqual(mapping.differences(before, after), said);
});
