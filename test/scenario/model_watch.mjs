// model_watch.mjs -- the page of the models in headless Chromium, at three stages of model_watch.py.
//
//   node model_watch.mjs '{"url","users":{"admin":{"user","password"},"nurse":…},"chromium","out","stage","model"}'
//
// Each stage: light and dark, wide and phone; a screenshot in `out`, no violation found by axe-core, nothing
// wider than the screen, nothing on the browser's console. Lines "ok …" and "FAIL …"; "end".
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const task = JSON.parse(process.argv[2]);
const axe = createRequire(import.meta.url)('axe-core').source;
const id = (name) => `[data-testid="${name}"]`;
const troubles = [];
const check = (what, found, expected = true) => {
  const isRight = JSON.stringify(found) === JSON.stringify(expected);
  console.log(isRight ? `ok   browser: ${what}` : `FAIL browser: ${what}\n     expected ${JSON.stringify(expected)}\n     found    ${JSON.stringify(found)}`);
};

const browser = await chromium.launch({ executablePath: task.chromium, args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'] });

async function login({ user, password }, options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1440, height: 1000 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on('console', (message) => { if (message.type() === 'error' && !/401/.test(message.text())) troubles.push(message.text()); });
  page.on('pageerror', (error) => troubles.push(String(error)));
  await page.goto(task.url);
  await page.fill(id('login-user'), user);
  await page.fill(id('login-password'), password);
  await page.click(id('login-submit'));
  await page.waitForSelector(id('live-state'));
  return page;
}

async function look(page, name) {
  await page.waitForSelector('main .loading', { state: 'detached' });
  await page.screenshot({ path: join(task.out, `${task.stage}-${name}.png`), fullPage: true });
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run());
  check(`${task.stage}, ${name}: axe-core finds no violation`, found.violations.map((v) => ({ rule: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200)) })), []);
  check(`${task.stage}, ${name}: nothing is wider than the screen`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
}

const open = async (page) => {
  await page.click(id('nav-model'));
  await page.locator(`${id('model')}[data-model="${task.model}"]`).waitFor();
};
const openOne = async (page) => {
  await page.locator(`${id('model')}[data-model="${task.model}"] a`).click();
  await page.locator('#watch-head').waitFor();
  await page.waitForSelector('main .loading', { state: 'detached' });
};

async function drift() {
  const page = await login(task.users.admin);
  await open(page);
  const line = page.locator(`${id('model')}[data-model="${task.model}"]`);
  await line.getByText(/inputs in drift/).waitFor();
  check('the list says that calibration is not known', await line.getByText(/no outcomes/).count(), 1);
  await look(page, 'list');
  await openOne(page);
  const first = page.locator(`${id('drift')} > li`).first();
  check('the worst group of inputs comes first', /drift/.test(await first.innerText()));
  await first.locator('summary').press('Enter');
  check('its features open by the keyboard', (await first.locator('tbody tr').count()) > 3);
  check('no proposal is shown', await page.locator(id('proposal')).count(), 0);
  check('calibration: it says what is missing', await page.getByText(/Not known: no outcomes were given/).count(), 1);
  await look(page, 'one');
  check('each drawing has its values as a table', await page.evaluate(() => [...document.querySelectorAll('svg.plot')].every((svg) => svg.closest('figure').querySelector('details.values table'))));
  await page.click(id('models-watch'));
  await page.locator(id('models-said')).filter({ hasText: 'All models were looked at' }).waitFor({ timeout: 60_000 });
  await page.click(id('models-reload'));
  await page.locator(id('models-said')).filter({ hasText: `In force: ${task.model}` }).waitFor();
  check('the buttons look and reload, and say what is in force', true);

  const nurse = await login(task.users.nurse, { viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
  await open(nurse);
  check('a nurse sees the models and no buttons', await nurse.locator(id('models-reload')).count(), 0);
  await look(nurse, 'phone-list');
  await openOne(nurse);
  for (const summary of await nurse.locator('.fold > summary').all()) await summary.click();
  await look(nurse, 'phone-one');
}

async function proposal() {
  const page = await login(task.users.admin, { colorScheme: 'dark' });
  await open(page);
  await openOne(page);
  await page.locator(id('proposal')).waitFor();
  check('the proposal names the command and changes nothing', /Nothing changes by itself/.test(await page.locator(id('proposal')).innerText()));
  check('there is no button that applies it', await page.locator(`${id('proposal')} button`).count(), 0);
  await look(page, 'one');
}

async function applied() {
  const page = await login(task.users.admin);
  await open(page);
  await openOne(page);
  check('the page names the new version', /-r1/.test(await page.locator('h1').innerText()));
  check('and says since when its figures are another calibration’s', await page.getByText(/Recalibrated here since/).count(), 1);
  const tile = await page.locator('.key-tiles').innerText();
  check('what was judged before is not said of the new version', [/look again/.test(tile), /in keeping/.test(tile)], [true, false]);
  await look(page, 'one');
}

try {
  await { drift, proposal, applied }[task.stage]();
  check('nothing on the console', troubles, []);
  console.log('end');
} finally {
  await browser.close();
}
