// workbench.mjs -- an author's way through the mapping workbench, in headless Chromium.
//
//   node workbench.mjs '{"url","users":{"admin":{"user","password"},"nurse":…},"chromium","out"}'
//
// workbench.py runs it. After "activated VERSION" and "rolled-back VERSION" it waits for a line: a message
// has been sent and looked at. Every view: a screenshot in `out`, no violation found by axe-core, nothing on
// the browser's console. Lines "ok …" and "FAIL …"; "end".
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const task = JSON.parse(process.argv[2]);
const axe = createRequire(import.meta.url)('axe-core').source;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const id = (name) => `[data-testid="${name}"]`;
const troubles = [];

const check = (what, found, expected = true) => {
  const isRight = JSON.stringify(found) === JSON.stringify(expected);
  console.log(isRight ? `ok   workbench: ${what}` : `FAIL workbench: ${what}\n     expected ${JSON.stringify(expected)}\n     found    ${JSON.stringify(found)}`);
};
process.stdout.on('error', () => process.exit(1)); // nobody listens any more: end

const browser = await chromium.launch({
  executablePath: task.chromium,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
});

async function login({ user, password }, options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1440, height: 1000 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on('console', (message) => {
    if (message.type() === 'error' && !/401/.test(message.text())) troubles.push(message.text());
  });
  page.on('pageerror', (error) => troubles.push(String(error)));
  await page.goto(task.url);
  await page.fill(id('login-user'), user);
  await page.fill(id('login-password'), password);
  await page.click(id('login-submit'));
  await page.waitForSelector(id('live-state'));
  return page;
}

async function look(page, name) {
  await page.screenshot({ path: join(task.out, `${name}.png`), fullPage: true });
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run());
  check(`${name}: axe-core finds no violation`, found.violations.map((v) => ({ rule: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200)) })), []);
}

const said = (page, text) => page.locator(id('result-said')).filter({ hasText: text }).waitFor();
const lineOf = (text, part) => text.slice(0, text.indexOf(part)).split('\n').length;

async function main() {
  const page = await login(task.users.admin);
  await page.click(id('nav-mappings'));
  await page.waitForSelector(id('device'));
  await said(page, '1 measurement');
  const first = await page.textContent(id('active'));
  check('the editors show what is active', [await page.textContent(id('draft-state')), await page.isDisabled(id('activate'))], ['As active', true]);
  check('the example becomes an Observation', /"8867-4"/.test(await page.textContent(id('observation'))));

  await page.click(id('recent-load'));
  await page.waitForSelector(id('recent'));
  await page.selectOption(id('recent'), await page.locator(`${id('recent')} optgroup[label="Dead letters"] option`).first().getAttribute('value'));
  await page.locator(id('problem')).filter({ hasText: 'expected a decimal number' }).waitFor();
  check('a dead letter is tried with what came beside it', /"ward": "4"/.test(await page.inputValue(id('message'))));
  await page.selectOption(id('recent'), await page.locator(`${id('recent')} optgroup[label="From devices"] option`).last().getAttribute('value'));
  await said(page, '2 measurements');
  check('a message that came is tried, with its envelope and each digit', /"hr": 71\.50/.test(await page.inputValue(id('message'))) && await page.isChecked(id('envelope')));
  check('the templates that matched are told', (await page.locator('.chip-matched').allTextContents()).map((t) => t.replace(/^✓ /, '').replace(' matched', '')), ['heartrate', 'respiration']);
  await look(page, '1-workbench');

  // The author breaks a template and sees where.
  const before = await page.inputValue(id('device'));
  const broken = before.replace('"$.Body.hr"', '"$.Body.["');
  await page.fill(id('device'), broken);
  await page.waitForSelector(id('finding'));
  const line = lineOf(broken, '"$.Body.["');
  check('what is wrong stands at its line', (await page.textContent(id('finding'))).startsWith(`Line ${line}, column `));
  check('and is marked there', await page.locator('.code-mark-error').evaluate((mark) => parseInt(mark.style.top) / 20 + 1), line);
  check('a wrong draft cannot be activated', await page.isDisabled(id('activate')));
  check('the editor is said to be invalid', await page.getAttribute(id('device'), 'aria-invalid'), 'true');
  await page.click(`${id('finding')} button`);
  check('the place is one press away', await page.evaluate(() => {
    const area = document.activeElement;
    return area.value.slice(0, area.selectionStart).split('\n').length;
  }), line);
  await look(page, '2-broken');
  await page.keyboard.press('Tab');
  check('the keyboard is not held in the editor', await page.evaluate(() => document.activeElement.id !== 'device'));

  await page.reload();
  await page.waitForSelector(id('finding'));
  check('the draft outlives the page', await page.inputValue(id('device')), broken);
  check('but the message does not', (await page.evaluate(() => JSON.stringify(localStorage))).includes('71.50'), false);

  // What only one message shows: a required value that is not in it.
  await page.fill(id('device'), before.replace('"$.Body.hr"', '"$.Body.pulse"'));
  await page.waitForSelector(id('problem'));
  check('an expression that finds nothing is told with its line', (await page.textContent(id('problem'))).includes(`line ${lineOf(before, '"$.Body.hr"')}`));
  check('and marked there', await page.locator('.code-mark-error').evaluate((mark) => parseInt(mark.style.top) / 20 + 1), lineOf(before, '"$.Body.hr"'));
  await look(page, '3-problem');
  const example = await page.inputValue(id('message'));
  await page.fill(id('message'), '{\n  "Body": {"hr": }\n}');
  await page.locator(id('problem')).filter({ hasText: 'Message, line 2' }).waitFor();
  check('so is the place in a message that is not JSON', await page.locator('.message .code-mark-error').evaluate((mark) => parseInt(mark.style.top) / 20 + 1), 2);
  await page.fill(id('message'), example);

  // Mended: the pulse has another name now, in both.
  const mended = before.replace('"heartrate"', '"pulse"');
  await page.fill(id('device'), mended);
  await page.locator(id('finding')).filter({ hasText: 'no template for type' }).waitFor();
  check('a type without a FHIR template is a warning', (await page.textContent(id('finding'))).includes('Warning'));
  await page.fill(id('fhir'), (await page.inputValue(id('fhir'))).replace('"heartrate"', '"pulse"'));
  await said(page, '1 measurement, 1 Observation, no errors');
  check('the Observation is seen before anything is activated', /"text": "pulse"/.test(await page.textContent(id('observation'))));
  await page.click(id('validate'));
  check('validated: no errors', await page.textContent(id('said')), 'No errors.');
  await page.click(id('activate'));
  await page.waitForSelector(id('changes'));
  check('the difference is told in words', await page.locator(`${id('changes')} li`).allTextContents(), [
    'Device mapping: new template “pulse”', 'Device mapping: template “heartrate” is taken away',
    'FHIR mapping: new template “pulse”', 'FHIR mapping: template “heartrate” is taken away']);
  await look(page, '4-activate');
  await page.click(id('dialog-confirm'));
  await page.locator(id('said')).filter({ hasText: 'is active' }).waitFor();
  const second = /Version (\w+)/.exec(await page.textContent(id('said')))[1];
  await page.locator(id('active')).filter({ hasText: second }).waitFor();
  check('the draft is what is active', await page.textContent(id('draft-state')), 'As active');
  check('and nothing of it stays behind', await page.evaluate(() => localStorage.getItem('mapping-draft')), null);
  console.log(`activated ${second}`);
  await lines.next();

  const row = page.locator(`${id('version-row')}[data-version="${first}"]`).last();
  await row.locator(id('rollback')).click();
  await page.waitForSelector(id('changes'));
  await page.click(id('dialog-confirm'));
  await page.locator(id('active')).filter({ hasText: first }).waitFor();
  check('rolled back, the editors show the first again', await page.inputValue(id('device')), before);
  await look(page, '5-rolled-back');
  console.log(`rolled-back ${first}`);
  await lines.next();

  // Somebody else has activated meanwhile: what is asked for counts on top of what was seen only.
  await page.fill(id('device'), mended);
  await page.waitForSelector(`${id('activate')}:enabled`);
  await page.click(id('activate'));
  await page.waitForSelector(id('changes'));
  console.log('dialog');
  await lines.next();
  await page.click(id('dialog-confirm'));
  await page.locator('dialog [role="alert"]').filter({ hasText: 'active by now' }).waitFor();
  check('an activation over somebody else\'s is refused', true);
  troubles.splice(0, troubles.length, ...troubles.filter((t) => !/409/.test(t)));
  await page.keyboard.press('Escape');

  const phone = await login(task.users.admin, { viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
  await phone.click(id('nav-mappings'));
  await said(phone, 'measurement');
  check('on a phone nothing sticks out sideways', await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await phone.fill(id('device'), broken);
  await phone.waitForSelector(id('finding'));
  await look(phone, '6-phone-dark');
  const dark = await login(task.users.admin, { colorScheme: 'dark' });
  await dark.click(id('nav-mappings'));
  await said(dark, 'measurement');
  await look(dark, '7-dark');

  const nurse = await login(task.users.nurse);
  check('a nurse has no such page', await nurse.locator(id('nav-mappings')).count(), 0);
  await nurse.goto(`${task.url}/mappings`);
  await nurse.waitForSelector('main h1');
  check('not by its address either', await nurse.textContent('main h1'), 'Not found');
  check('nothing on the browser\'s console', troubles, []);
}

try {
  await main();
} catch (error) {
  console.log(`FAIL workbench: came to its end\n     ${String(error).split('\n').slice(0, 6).join('\n     ')}`);
  for (const [i, context] of browser.contexts().entries())
    for (const page of context.pages()) await page.screenshot({ path: join(task.out, `failed-${i}.png`) }).catch(() => {});
  process.exitCode = 1;
}
console.log('end');
await browser.close();
process.exit();
