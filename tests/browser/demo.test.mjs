// `greenpatch demo --web`, as a person would use it.

import assert from "node:assert/strict";
import test from "node:test";

import { assertAccessible, assertFitsNarrowScreens, eventually, isRunning, open, picture, says, start } from "./browser.mjs";

const QUEUED = ["hello 0", "world", "hello 1", "world"];
const OVERLAPPING = ["hello 0", "hello 1", "world", "world"];

async function startDemo(t, ...parameters) {
  const demo = await start(t, process.env.GREENPATCH, ["demo", "--web", "--bind", "127.0.0.1:0", ...parameters], {
    mark: /Open (http:\S+) in a browser/,
  });
  return { ...demo, url: demo.found[1] };
}

const side = (page, letter) => page.getByRole("region", { name: `Server ${letter}` });
const choice = (page, letter) => page.getByRole("group", { name: `Server ${letter}`, exact: true });
const start_ = (page) => page.getByRole("button", { name: "Start" }).click();
const phase = (page) => page.getByRole("status");

async function handlersLines(page, letter) {
  const lines = await side(page, letter).getByRole("log").getByRole("listitem").allTextContents();
  return lines.filter((line) => /^(hello \d+|world)$/.test(line));
}

/// The bars of the calls as they stand on the screen: where each begins and ends, from left to right.
async function bars(page, letter) {
  const boxes = await side(page, letter).locator("tbody .run").evaluateAll((all) =>
    all.map((bar) => bar.getBoundingClientRect()).map(({ left, right }) => ({ left, right })));
  return boxes.sort((one, other) => one.left - other.left);
}

/// What the table says of each request, in seconds.
async function calls(page, letter) {
  const table = page.getByRole("table", { name: `Requests to Server ${letter}` });
  const rows = await table.locator("tbody").getByRole("row").evaluateAll((all) =>
    all.map((row) => [...row.cells].map((cell) => cell.textContent)));
  return rows.map(([request, begins, ends, line]) => ({ request, begins: parseFloat(begins), ends: parseFloat(ends), line }));
}

async function run(page) {
  await start_(page);
  await says(phase(page), "Done.");
}

test("two requests queue where nothing is patched, and overlap where all is", async (t) => {
  const { url } = await startDemo(t);
  const page = await open(t, url);
  await page.getByLabel("Requests to each").fill("2");
  await run(page);

  assert.deepEqual(await handlersLines(page, "A"), QUEUED);
  assert.deepEqual(await handlersLines(page, "B"), OVERLAPPING);
  await says(side(page, "A"), "One after the other, on 1 OS thread");
  await says(side(page, "B"), "All 2 at the same time, on 1 OS thread");
  await says(side(page, "A"), "greenpatch serve -k green --patch none hello --sleep 1");

  const [first, second] = await bars(page, "A");
  assert.ok(first.right <= second.left + 1 && first.right > first.left + 20, "on the screen one bar is behind the other");
  const [one, other] = await bars(page, "B");
  assert.ok(other.left < one.right - 20, "on the screen the bars are side by side");

  const [before, behind] = (await calls(page, "A")).sort((a, b) => a.begins - b.begins);
  assert.ok(before.ends <= behind.begins);
  assert.match(behind.line, /queued for \d\.\d\d s, ran for \d\.\d\d s/);
  const [begun, beside] = (await calls(page, "B")).sort((a, b) => a.begins - b.begins);
  assert.ok(beside.begins < begun.ends);
});

test("a call is seen while it runs, and those behind it while they wait", async (t) => {
  const { url } = await startDemo(t, "--sleep", "3");
  const page = await open(t, url);
  assert.equal(await page.getByLabel("Seconds that each waits").inputValue(), "3");
  await start_(page);
  await says(side(page, "A").getByRole("log"), "hello 0");
  const table = page.getByRole("table", { name: "Requests to Server A" });
  await says(table, /queued, runs|queued for \S+ s, runs/);
  const running = side(page, "A").locator(".run.under-way:visible");
  assert.equal(await running.count(), 1);
  assert.equal(await side(page, "A").locator("tbody .queue:visible").count() >= 3, true);
  await eventually("four at once in the patched one", async () => await side(page, "B").locator(".run.under-way:visible").count() === 4);
  const width = async () => (await running.boundingBox()).width;
  const before = await width();
  await eventually("the bar grows", async () => await width() > before + 10);
  assert.deepEqual(await handlersLines(page, "A"), ["hello 0"]);
  await page.getByRole("button", { name: "Stop" }).click();
  await says(phase(page), "Stopped.");
});

test("any two classes run side by side", async (t) => {
  const { url } = await startDemo(t);
  const page = await open(t, url);
  await page.getByLabel("Seconds that each waits").fill("0.5");
  for (const [a, b, ofA, ofB] of [
    ["sync", "gthread", "One after the other, on 1 OS thread", "4 at the same time, on 4 OS threads"],
    ["async-blocking", "async", "One after the other, on 1 OS thread", "All 5 at the same time, on 1 OS thread"],
  ]) {
    await page.getByLabel("Requests to each").fill("5");
    await choice(page, "A").getByLabel("Worker class").selectOption(a);
    await choice(page, "B").getByLabel("Worker class").selectOption(b);
    await says(choice(page, "A"), "Only on green threads does the patch matter.");
    await run(page);
    await says(side(page, "A"), ofA);
    await says(side(page, "B"), ofB);
  }
});

test("each family is switched by itself", async (t) => {
  const { url } = await startDemo(t);
  const page = await open(t, url);
  await page.getByLabel("Requests to each").fill("2");
  await page.getByLabel("Seconds that each waits").fill("0.4");
  const a = choice(page, "A");
  for (const family of ["time", "socket", "select", "lock", "thread", "os", "process"]) {
    await page.getByLabel("The handler waits for").selectOption(family);
    await a.getByRole("button", { name: "All" }).click();
    await a.getByRole("checkbox", { name: family, exact: true }).uncheck();
    await run(page);
    await says(side(page, "A"), "One after the other");
    await says(side(page, "B"), "All 2 at the same time");
    assert.deepEqual(await handlersLines(page, "A"), QUEUED, family);
    assert.deepEqual(await handlersLines(page, "B"), OVERLAPPING, family);
  }
});

test("the keyboard is enough", async (t) => {
  const { url } = await startDemo(t);
  const page = await open(t, url);
  const focused = () => page.evaluate(() => {
    const { tagName, type, value, labels, textContent } = document.activeElement;
    return [tagName, type, labels?.[0]?.textContent.trim().split("\n")[0].trim() ?? textContent, value].join("|");
  });
  const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
  await press("Tab");
  assert.match(await focused(), /^INPUT\|number\|Requests to each/);
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid", "where the focus is can be seen");
  await press("ArrowDown", "ArrowDown", "Tab");
  await page.keyboard.type("0.3");
  await press("Tab", "Tab");
  assert.match(await focused(), /^SELECT\|select-one\|Worker class/);
  await press("Tab");
  assert.match(await focused(), /checkbox\|time/);
  await press("Space", "Enter");
  await says(phase(page), "Done.");
  assert.equal(new URL(page.url()).searchParams.get("a-patch"), "time");
  assert.deepEqual(await handlersLines(page, "A"), OVERLAPPING);
});

test("the address says what is chosen, and opens it again", async (t) => {
  const { url } = await startDemo(t);
  const page = await open(t, url);
  await page.getByLabel("Requests to each").fill("7");
  await choice(page, "A").getByLabel("Worker class").selectOption("gthread");
  await choice(page, "B").getByRole("checkbox", { name: "lock" }).uncheck();
  const again = await open(t, page.url());
  assert.equal(await again.getByLabel("Requests to each").inputValue(), "7");
  assert.equal(await choice(again, "A").getByLabel("Worker class").inputValue(), "gthread");
  assert.equal(await choice(again, "B").getByRole("checkbox", { name: "lock" }).isChecked(), false);
  assert.equal(await choice(again, "B").getByRole("checkbox", { name: "time" }).isChecked(), true);
  const faulty = await open(t, `${url}?requests=1000&seconds=x&wait=love&a=eventlet&a-patch=tiem`);
  assert.equal(await faulty.getByLabel("Requests to each").inputValue(), "4");
  assert.equal(await faulty.getByLabel("The handler waits for").inputValue(), "time");
});

test("what cannot be is not started", async (t) => {
  const { url } = await startDemo(t);
  const page = await open(t, url);
  const requests = page.getByLabel("Requests to each");
  for (const wrong of ["0", "33", ""]) {
    await requests.fill(wrong);
    await start_(page);
    assert.equal(await requests.evaluate((field) => field.validity.valid), false);
    assert.equal(await phase(page).textContent(), "");
  }
  await requests.fill("2");
  await page.getByLabel("The handler waits for").selectOption("lock");
  await choice(page, "A").getByLabel("Worker class").selectOption("async");
  await says(choice(page, "A"), "A handler that awaits can wait for time only.");
  await start_(page);
  assert.equal(await phase(page).textContent(), "");
});

test("Stop ends the servers at once, and the page can start again", async (t) => {
  const { url } = await startDemo(t);
  const page = await open(t, url);
  await page.getByLabel("Seconds that each waits").fill("5");
  await start_(page);
  await says(side(page, "A").getByRole("log"), "hello 0");
  const stop = page.getByRole("button", { name: "Stop" });
  const processes = await processesOf(page);
  await stop.focus();
  await page.keyboard.press("Enter");
  await says(phase(page), "Stopped.");
  for (const process_ of processes) assert.equal(isRunning(process_), false);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Start");
  assert.equal(await stop.isDisabled(), true);
  await page.getByLabel("Seconds that each waits").fill("0.2");
  await run(page);
  await says(side(page, "B"), "All 4 at the same time");
});

test("a page that is closed takes its servers along", async (t) => {
  const { url } = await startDemo(t);
  const page = await open(t, url);
  await page.getByLabel("Seconds that each waits").fill("5");
  await start_(page);
  await says(side(page, "A").getByRole("log"), "hello 0");
  const processes = await processesOf(page);
  await page.goto("about:blank");
  await eventually("the servers have ended", () => !processes.some(isRunning));
});

test("a server that dies is told of", async (t) => {
  const { url } = await startDemo(t);
  const page = await open(t, url);
  await page.getByLabel("Seconds that each waits").fill("2");
  await start_(page);
  await says(side(page, "A").getByRole("log"), "hello 0");
  const [a] = await processesOf(page);
  process.kill(a, "SIGKILL");
  await says(side(page, "A").getByRole("alert"), "Server A: the server has ended: signal: 9 (SIGKILL)");
  await says(phase(page), "A server has failed.");
  await says(side(page, "B"), "All 4 at the same time");
});

test("a demonstration that has ended is told of", async (t) => {
  const demo = await startDemo(t);
  const page = await open(t, demo.url, { allowed: /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING/ });
  demo.child.kill("SIGTERM");
  assert.equal(await demo.exited, 0);
  await start_(page);
  await says(page.getByRole("alert").first(), "The demonstration does not answer. Is it still running?");
});

for (const colorScheme of ["light", "dark"]) {
  test(`nobody is kept out, ${colorScheme}`, async (t) => {
    const { url } = await startDemo(t);
    const page = await open(t, url, { colorScheme, reducedMotion: "reduce" });
    await assertAccessible(page);
    await run(page);
    await assertAccessible(page);
    const [back, text] = await page.evaluate(() => {
      const { backgroundColor, color } = getComputedStyle(document.body);
      return [backgroundColor, color].map((it) => Number(/\d+/.exec(it)[0]));
    });
    assert.equal(back > text, colorScheme === "light");
    await picture(page, `demo-${colorScheme}`);
    await assertFitsNarrowScreens(page);
  });
}

test("who asks for no motion sees none", async (t) => {
  const { url } = await startDemo(t);
  for (const [reducedMotion, animations] of [["reduce", 0], ["no-preference", 1]]) {
    const page = await open(t, `${url}?requests=1&seconds=3`, { reducedMotion });
    await start_(page);
    await page.locator(".run.under-way:visible").first().waitFor();
    const running = await side(page, "A").locator(".run.under-way").evaluate((bar) => bar.getAnimations().length);
    assert.equal(running, animations);
  }
});

/// The processes of servers A and B.
async function processesOf(page) {
  const texts = [side(page, "A"), side(page, "B")].map((it) => it.getByText(/^process \d+$/).textContent());
  return (await Promise.all(texts)).map((text) => Number(text.split(" ")[1]));
}
