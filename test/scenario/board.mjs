// board.mjs -- a nurse's and an administrator's way through the real board, in headless Chromium.
//
//   node board.mjs '{"url","patient","name","users":{"nurse":{"user","password"},"admin":…},"chromium","out"}'
//
// whole_picture.py runs it. It says "ready" when the board is open and shows no flag yet; the flag then has
// to appear by itself. A line on standard input gives the message's trace id. Every page: a screenshot in
// `out`, no violation found by axe-core, nothing on the browser's console. Lines "ok …" and "FAIL …"; "end".
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const task = JSON.parse(process.argv[2]);
const axe = createRequire(import.meta.url)('axe-core').source;
const DEADLINE_MS = 30_000;

const check = (what, found, expected = true) => {
  const isRight = JSON.stringify(found) === JSON.stringify(expected);
  console.log(isRight ? `ok   browser: ${what}` : `FAIL browser: ${what}\n     expected ${JSON.stringify(expected)}\n     found    ${JSON.stringify(found)}`);
};
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

process.stdout.on('error', () => process.exit(1)); // nobody listens any more: end

const browser = await chromium.launch({
  executablePath: task.chromium,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
});
const troubles = [];

// The made authority is not in the browser's store; that its certificate is right, harness.py checks.
async function person(viewport = { width: 1440, height: 1000 }) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport });
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  page.on('console', (message) => {
    if (message.type() === 'error' && !/\b40[01]\b/.test(message.text())) troubles.push(message.text()); // 401: who am I, asked before the login; 400: asked for on purpose
  });
  page.on('pageerror', (error) => troubles.push(String(error)));
  return page;
}

const id = (name) => `[data-testid="${name}"]`;

async function look(page, name) {
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: join(task.out, `${name}.png`), fullPage: true });
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run());
  check(`${name}: axe-core finds no violation`, found.violations.map((v) => ({ rule: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200)) })), []);
}

async function login(page, { user, password }) {
  await page.goto(task.url);
  await page.fill(id('login-user'), user);
  await page.fill(id('login-password'), password);
  await page.click(id('login-submit'));
  await page.waitForSelector(id('board'));
}

async function visit(page, name) {
  await page.click(id(`nav-${name}`));
  await page.waitForSelector('main h1');
  await page.waitForSelector('main .loading', { state: 'detached' });
}

async function main() {
  const page = await person();
  await page.goto(task.url);
  await page.waitForSelector(id('login-user'));
  await look(page, '1-login');
  await page.fill(id('login-user'), task.users.nurse.user);
  await page.fill(id('login-password'), 'not the password');
  await page.click(id('login-submit'));
  await page.waitForSelector('[role="alert"]');
  check('a wrong password is refused with words', await page.locator(id('board')).count(), 0);
  await login(page, task.users.nurse);

  const row = page.locator(`${id('board-row')}[data-patient="${task.patient}"]`);
  await row.waitFor();
  check('the board says that it is live', (await page.textContent(id('live-state'))).includes('Live') && !(await page.textContent(id('live-state'))).includes('Not'));
  check('before the deterioration no flag is shown', await row.locator(id('flag-badge')).count(), 0);
  await look(page, '2-board-before');
  console.log('ready');

  await row.locator(id('flag-badge')).waitFor();
  check('step 15: the flag appears on the open board by itself', true);
  check('the flagged patient stands first', await page.locator(id('board-row')).first().getAttribute('data-patient'), task.patient);
  check('the row shows who it is', (await row.textContent()).includes(task.name));
  await look(page, '3-board-flag');
  const traceId = (await lines.next()).value;

  await row.locator('h2 a').click();
  await page.waitForSelector(`${id('patient-page')}[data-patient="${task.patient}"]`);
  await page.waitForSelector('main .loading', { state: 'detached' });
  check('the patient page opens from the board', page.url(), `${task.url}/patient/${task.patient}`);
  check('it draws the vital signs', await page.locator('main canvas, main svg').count() > 0);
  await look(page, '4-patient');
  await page.reload();
  await page.waitForSelector(`${id('patient-page')}[data-patient="${task.patient}"]`);
  check('its address can be opened by itself', true);

  await visit(page, 'worklist');
  const item = page.locator(id('work-item')).first();
  await item.waitFor();
  check('step 17: the work item waits', await item.getAttribute('data-state'), 'open');
  await look(page, '5-worklist');
  await item.locator(id('ack-button')).click();
  await page.waitForSelector(id('dialog-confirm'));
  await look(page, '6-worklist-dialog');
  await page.click(id('dialog-confirm'));
  await page.waitForSelector(`${id('work-item')}[data-state="acknowledged"]`);
  check('the item says who acknowledged it', (await item.textContent()).includes(`acknowledged by ${task.users.nurse.user}`));
  await look(page, '7-worklist-acknowledged');
  await page.reload();
  await page.waitForSelector(`${id('work-item')}[data-state="acknowledged"]`);
  check('and still after a reload', true);
  await item.locator(id('snooze-button')).click();
  await page.fill(id('dialog-text'), 'soon');
  await page.click(id('dialog-confirm'));
  await page.waitForSelector('dialog [role="alert"]');
  check('a snooze wants minutes', /minutes/.test(await page.textContent('dialog [role="alert"]')));
  await page.fill(id('dialog-text'), '45');
  await page.click(id('dialog-confirm'));
  await page.getByText(/snoozed until \d\d:\d\d/).first().waitFor();
  check('the item says until when it is snoozed', true);
  await look(page, '7-worklist-snoozed');

  await visit(page, 'report');
  await look(page, '8-report');
  await visit(page, 'lists');
  await look(page, '9-lists');

  await visit(page, 'architecture');
  await page.waitForSelector('svg.picture, .picture');
  check('the architecture shows eighteen steps', await page.locator('table.steps tbody tr').count(), 18);
  check('with four paths', await page.evaluate(() => [...new Set([...document.querySelectorAll('table.steps tbody tr')].map((tr) => tr.children[2].textContent))]), ['blue', 'green', 'red', 'orange']);
  await page.fill(id('trace-id'), traceId);
  await page.click(id('trace-go'));
  await page.waitForSelector(id('trace-result'));
  check('a message lights its way', await page.locator(`${id('trace-result')} li.reached`).count() >= 16);
  await look(page, '10-architecture');

  const admin = await person();
  await login(admin, task.users.admin);
  for (const [i, name] of ['model', 'outbox', 'deadletters'].entries()) {
    await visit(admin, name);
    if (name === 'deadletters') {
      await admin.waitForSelector('.letters li');
      check('a dead letter names device and reason', /bed-stranger/.test(await admin.textContent('.letters')) && /connector\.identity/.test(await admin.textContent('.letters')));
    }
    await look(admin, `${11 + i}-${name}`);
  }
  const phone = await person({ width: 390, height: 844 });
  await phone.emulateMedia({ colorScheme: 'dark' });
  await login(phone, task.users.nurse);
  await phone.waitForSelector(`${id('board-row')}[data-patient="${task.patient}"]`);
  check('on a phone nothing sticks out sideways', await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await look(phone, '14-board-phone-dark');

  await page.goto(`${task.url}/patient/${task.patient}`);
  await page.locator(id('end-monitoring')).click();
  await page.fill(id('dialog-text'), 'went home');
  await look(page, '15-end-monitoring');
  await page.click(id('dialog-confirm'));
  await page.waitForSelector(id('ended'));
  await look(page, '16-patient-ended');
  await visit(page, 'board');
  await row.waitFor({ state: 'detached' });
  check('after the end of monitoring the patient leaves the board', true);
  await page.click(id('logout'));
  await page.waitForSelector(id('login-user'));
  check('after the logout the board is gone', await page.locator(id('board')).count(), 0);
  check('nothing on the browser\'s console', troubles, []);
}

try {
  await main();
} catch (error) {
  console.log(`FAIL browser: came to its end\n     ${String(error).split('\n').slice(0, 6).join('\n     ')}`);
  for (const [i, context] of browser.contexts().entries())
    for (const page of context.pages()) await page.screenshot({ path: join(task.out, `failed-${i}.png`) }).catch(() => {});
  process.exitCode = 1;
}
console.log('end');
await browser.close();
process.exit();
