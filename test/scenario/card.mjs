// card.mjs -- reads an Adaptive Card (JSON) from standard input as a Teams client would: with the published
// parser. Prints what it objects to and ends with 1; nothing and 0 when it is fine.
import { build } from 'esbuild';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

// The package's own modules do not load in Node without a bundler.
const bundle = await build({
  stdin: { contents: "export * from 'adaptivecards'", resolveDir: fileURLToPath(new URL('.', import.meta.url)) },
  bundle: true, write: false, platform: 'node', format: 'cjs', logLevel: 'error',
});
const module_ = { exports: {} };
new Function('module', 'exports', 'require', bundle.outputFiles[0].text)(module_, module_.exports, createRequire(import.meta.url));
const { AdaptiveCard, SerializationContext, Versions } = module_.exports;

const context = new SerializationContext(Versions.v1_2);
const card = new AdaptiveCard();
card.parse(JSON.parse(readFileSync(0, 'utf8')), context);
const events = [...Array(context.eventCount).keys()].map((i) => context.getEventAt(i).message);
events.push(...card.validateProperties().validationEvents.map((e) => e.message));
if (card.getItemCount() === 0) events.push('the card is empty');
for (const event of events) console.log(event);
process.exit(events.length ? 1 : 0);
