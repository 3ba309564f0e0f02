// The page in Chromium, held against `dwcp sim` of the same tree.
//
//   node browser.mjs PAGE DWCP FOLDER     FOLDER has node_modules/playwright-core; pictures go there
//
// Every check is of what a person would see or of what the native program says; nothing sleeps,
// every wait has an end.
import { execFileSync, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import assert from "node:assert/strict";

const [page_path, dwcp, folder] = process.argv.slice(2).map(p => resolve(p));
const { chromium } = createRequire(join(folder, "package.json"))("playwright-core");
const here = dirname(fileURLToPath(import.meta.url));
const PATIENCE = 240_000;
const scratch = mkdtempSync(join(tmpdir(), "dwcp-web-"));
const capsule = join(scratch, "capsule.toml");

const native = (...words) => {
  try {
    return execFileSync(dwcp, ["--output", "json", "sim", ...words], { encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "ignore"] });
  } catch (e) {
    // A run that fails says so with its exit status, and its report all the same.
    return e.stdout;
  }
};
const report = (...words) => JSON.parse(native("run", ...words).split("\n")[0]);
const done = words => console.log(`ok    ${words}`);
const measured = (words, value) => console.log(`      ${words}: ${value}`);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
let server = null;
const wrong = [], asked = [];

async function fresh(url, colorScheme = "light") {
  const context = await browser.newContext({ viewport: { width: 1500, height: 1080 }, colorScheme });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("console", m => { if (m.type() === "error") wrong.push(m.text()); });
  page.on("pageerror", e => wrong.push(String(e)));
  page.on("request", r => asked.push(r.url()));
  await page.goto(url);
  await page.waitForFunction(() => document.body.dataset.opened || document.body.dataset.error);
  return page;
}
const traced = page => page.waitForFunction(() => document.body.dataset.trace).then(() => page.evaluate(() => document.body.dataset.trace));
const data = (page, name) => page.evaluate(n => document.body.dataset[n], name);
// What a moment is, without what depends on how long it took to get there.
const moment = page => page.evaluate(() => JSON.stringify(dwcp.state));

try {
  // 1. From a file, without a server: a scenario runs to its end and is the native run.
  const name = "failover/region_loss", seed = 7;
  const want = report(name, "--seed", String(seed));
  const page = await fresh(`${pathToFileURL(page_path)}#scenario=${name}&seed=${seed}`);
  await page.click("#run");
  const trace = await traced(page);
  assert.equal(trace, want.trail.end, "the trace in the browser is the native one");
  const stats = await page.evaluate(() => dwcp.verdict.stats);
  assert.deepEqual(stats, want.stats);
  done(`${name} seed ${seed}: trace ${trace}, ${stats.events} events, as natively`);
  const pace = Number(await data(page, "pace"));
  measured("nine nodes, simulated seconds a second", `${pace}  (natively ${(want.stats.simulated_ns / 1e3 / want.took_us).toFixed(1)} a processor second)`);
  measured("memory and checkpoints", await page.textContent("#pace"));
  await page.screenshot({ path: join(folder, "whole-light.png") });

  // 2. Back and forward: the same moment is the same however it was reached.
  const at = 9_500_000;
  await page.evaluate(us => dwcp.seek(us), at);
  const first = await moment(page);
  let slowest = 0;
  for (const us of [2_000_000, 39_000_000, 9_499_999, 21_700_123, at]) {
    await page.evaluate(us => dwcp.seek(us), us);
    slowest = Math.max(slowest, Number(await data(page, "took")));
    assert.equal(await page.evaluate(() => dwcp.state.now), us);
  }
  assert.equal(await moment(page), first, "back at the same moment");
  measured("the slowest of five jumps in a minute of nine nodes, ms", slowest);
  await page.evaluate(() => dwcp.step(5));
  const five = await moment(page);
  await page.evaluate(() => dwcp.step(-3));
  const two = await moment(page);
  assert.notEqual(two, five);
  await page.evaluate(() => dwcp.step(3));
  assert.equal(await moment(page), five, "three steps back and three forward");
  await page.evaluate(() => dwcp.step(-3));
  assert.equal(await moment(page), two, "and back again");
  measured("a step back, ms", await data(page, "took"));
  done("steps and jumps back and forward come to the same states");
  await page.evaluate(() => { dwcp.look(9_200_000, 9_700_000); });
  await page.hover("#lanes", { position: { x: 700, y: 200 } });
  await page.screenshot({ path: join(folder, "close-light.png") });
  await page.evaluate(() => dwcp.finish());
  assert.equal(await page.evaluate(() => dwcp.verdict.trace), trace, "the end is the same after going back");
  done("the end after going back has the same trace");

  // 3. Keys and the names of things.
  const steps = Number(await page.evaluate(() => dwcp.seek(1_000_000).then(() => dwcp.state.steps)));
  await page.focus("#lanes");
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(n => dwcp.state.steps === n + 1, steps);
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction(n => dwcp.state.steps === n, steps);
  await page.selectOption("#speed", "1");
  await page.keyboard.press(" ");
  await page.waitForFunction(us => dwcp.state.now > us, 1_050_000);
  assert.equal(await data(page, "running"), "true");
  await page.keyboard.press(" ");
  await page.waitForFunction(() => document.body.dataset.running === "false");
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, select, canvas, table, output")]
    .filter(e => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length || e.closest("[aria-labelledby]"))).map(e => e.outerHTML));
  assert.deepEqual(nameless, []);
  done("keys step, run and pause; everything that can be used has a name");

  // 4. What is no capsule is refused in words, and the run that was open goes on.
  await page.setInputFiles("#file", { name: "bad.toml", mimeType: "text/plain", buffer: Buffer.from("why = 3\n[plan]\nscenario = 'x'\n") });
  await page.waitForFunction(() => document.body.dataset.error);
  assert.match(await page.textContent("#verdict"), /can't be opened: as a capsule/);
  await page.evaluate(() => dwcp.seek(2_000_000));
  assert.equal(await page.evaluate(() => dwcp.state.now), 2_000_000);
  done("a bad file is refused in words");
  await page.context().close();

  // 5. A failure's capsule, served by `dwcp sim view`, in the dark.
  const failing = report(join(here, "impossible.toml"), "--seed", "3", "--capsule", capsule);
  assert.equal(failing.violation.name, "convergence");
  server = spawn(dwcp, ["sim", "view", capsule, "--port", "0", "--page", page_path], { stdio: ["ignore", "pipe", "inherit"] });
  const url = await new Promise((found, failed) => {
    server.stdout.on("data", text => { const at = String(text).match(/http:\S+/); if (at) found(at[0]); });
    server.on("exit", code => failed(new Error(`dwcp sim view ended with ${code}`)));
  });
  const dark = await fresh(url, "dark");
  await dark.click("#run");
  assert.equal(await traced(dark), failing.trail.end);
  const verdict = await dark.evaluate(() => dwcp.verdict);
  assert.deepEqual([verdict.same_as_capsule, verdict.violation], [true, failing.violation]);
  await dark.evaluate(() => dwcp.toViolation());
  await dark.screenshot({ path: join(folder, "violation-dark.png") });
  done(`a capsule from dwcp sim view: the same run, ${verdict.violation.name} broken`);
  await dark.context().close();

  // 6. More scenarios, only their traces.
  for (const [name, seed] of [["calm/steady", 1], ["partition/bridge", 5], ["disk/torn_write", 2], ["members/snapshot_to_joiner", 4]]) {
    const want = report(name, "--seed", String(seed)).trail.end;
    const page = await fresh(`${pathToFileURL(page_path)}#scenario=${name}&seed=${seed}`);
    await page.evaluate(() => dwcp.finish());
    assert.equal(await page.evaluate(() => dwcp.verdict.trace), want, `${name} seed ${seed}`);
    done(`${name} seed ${seed}: ${want}`);
    await page.context().close();
  }
  const outside = asked.filter(u => !u.startsWith("file:") && !u.startsWith("blob:") && !u.startsWith("data:") && !u.startsWith(new URL(url).origin));
  assert.deepEqual(outside, [], "nothing is asked of the network");
  assert.deepEqual(wrong.filter(w => !w.includes("favicon")), [], "no error in the console");
  done("no request went out, no error was logged");
} finally {
  server?.removeAllListeners("exit");
  server?.kill();
  await browser.close();
  rmSync(scratch, { recursive: true, force: true });
}
