// What the tests of all pages share: a browser, programs under way, and what is asked of every page.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before } from "node:test";

const require = createRequire(`${process.env.PACKAGES}/`);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

// Longer than anything here takes, on a slow machine with other tests beside.
const PATIENCE = Number(process.env.PATIENCE ?? 60_000);

const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

let browser;
before(async () => {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, args: ARGUMENTS });
});
after(() => browser.close());

/// Has something done when the test ends, before what it was built on is taken down.
export function atEnd(t, action) {
  if (!ends.has(t)) {
    ends.set(t, []);
    t.after(async () => {
      const errors = [];
      for (const action of ends.get(t).reverse()) {
        try { await action(); } catch (error) { errors.push(error); }
      }
      if (errors.length) throw errors[0];
    });
  }
  ends.get(t).push(action);
}
const ends = new WeakMap();

/// A page in a window of its own, which fails the test if its console has an error that `allowed` does not match.
export async function open(t, url, { allowed, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1040, height: 800 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !allowed?.test(message.text())) errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(error.stack));
  atEnd(t, async () => {
    await context.close();
    assert.deepEqual(errors, [], "the page's console has no errors");
  });
  await page.goto(url);
  return page;
}

/// Waits until something becomes true, and says what it was that did not.
export async function eventually(what, question) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    assert.ok(Date.now() < end, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/// Waits until the element's text matches.
export async function says(locator, pattern) {
  await locator.filter({ hasText: pattern }).waitFor({ timeout: PATIENCE }).catch(async () => {
    assert.fail(`not '${pattern}', but '${await locator.textContent().catch((error) => error.message)}'`);
  });
}

/// Asserts that axe finds no barrier: names, roles, contrast, order.
export async function assertAccessible(page) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join("\n")}`);
  assert.deepEqual(found, []);
  assert.ok(passes.length > 10, "axe has looked at the page");
}

/// Asserts that nobody has to scroll sideways on a telephone.
export async function assertFitsNarrowScreens(page) {
  await page.setViewportSize({ width: 360, height: 700 });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 360, `the page is ${width} wide`);
  await assertAccessible(page);
}

/// Keeps a picture of the whole page.
export async function picture(page, name) {
  mkdirSync(process.env.PICTURES, { recursive: true });
  const file = path.join(process.env.PICTURES, `${name}.png`);
  const image = await page.screenshot({ path: file, fullPage: true, animations: "disabled" });
  // The pages that rustdoc makes have no files beside them, so pictures are in them as text.
  if (name.endsWith("-light")) writeFileSync(`${file}.base64`, image.toString("base64"));
}

/// Starts a program, and waits until it prints a line that matches; `found` is what matched. It is ended with the test.
export async function start(t, program, parameters, { mark, environment = {} }) {
  const child = spawn(program, parameters, {
    env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  const exited = new Promise((resolve) => child.on("exit", resolve));
  for (const output of [child.stdout, child.stderr]) output.on("data", (text) => { printed += text; });
  atEnd(t, async () => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 5000);
    await exited;
    clearTimeout(late);
  });
  const found = await eventually(`'${mark}' in what ${program} prints`, () => {
    assert.equal(child.exitCode, null, printed);
    return mark.exec(printed);
  });
  return { child, exited, found, printed: () => printed };
}

/// Whether there is such a process, other than one that has ended and waits to be collected.
export function isRunning(process_) {
  try {
    const stat = readFileSync(`/proc/${process_}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z";
  } catch {
    return false;
  }
}
