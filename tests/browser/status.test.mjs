// The admin listener's status page, as a person would use it.

import assert from "node:assert/strict";
import http from "node:http";
import test from "node:test";

import { assertAccessible, atEnd, assertFitsNarrowScreens, eventually, isRunning, open, picture, says, start } from "./browser.mjs";

async function startServer(t, ...parameters) {
  const server = await start(t, process.env.GREENPATCH,
    ["serve", "-b", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0", ...parameters],
    { mark: /Admin listening at: ([\d.:]+)/ });
  const [, url] = await eventually("it listens", () => /INFO\] Listening at: (http:[\w./:]+\d)/.exec(server.printed()));
  return { ...server, url, status: `http://${server.found[1]}/status` };
}

/// Requests, as many at once as are asked for, until the test ends.
function load(t, url, count) {
  let isOver = false;
  const agent = new http.Agent({ keepAlive: true });
  const ask = () => {
    // Whoever is cut off has nothing more to ask.
    http.get(url, { agent }, (answer) => answer.resume().on("end", () => isOver || ask())).on("error", () => {});
  };
  for (let client = 0; client < count; client += 1) ask();
  atEnd(t, () => { isOver = true; agent.destroy(); });
}

const tile = (page, name) => page.getByRole("definition").and(page.locator(`dt:text-is("${name}") + dd`));
const rows = (page, name) => page.getByRole("table", { name }).locator("tbody").getByRole("row");
const cells = (row) => row.getByRole("cell").allTextContents();

test("it shows who serves how much, how fast, and goes on doing so by itself", async (t) => {
  const server = await startServer(t, "-k", "green", "-w", "2", "hello", "--sleep", "0.4");
  const page = await open(t, server.status);
  await says(page.getByRole("status").first(), "ready");
  await eventually("two workers are ready", async () => {
    const all = await Promise.all((await rows(page, "Workers").all()).map(cells));
    return all.length === 2 && all.every(([pid, state]) => isRunning(Number(pid)) && state === "ready");
  });
  assert.equal(await tile(page, "in flight").textContent(), "0");

  load(t, server.url, 8);
  await says(tile(page, "in flight"), /^8$/);
  await eventually("requests a second", async () => Number(await tile(page, "requests/s").textContent()) > 2);
  // As near as the histogram's buckets are.
  await eventually("half of them take less than", async () => {
    const [, half] = /^(\d+) ms$/.exec(await tile(page, "p50").textContent()) ?? [];
    return half > 250 && half <= 500;
  });
  const [route, rate, errors, ...quantiles] = await cells(rows(page, "Requests of the last ten seconds").first());
  assert.equal(route, "/");
  assert.ok(Number(rate) > 2);
  assert.equal(errors, "0");
  for (const quantile of quantiles) assert.match(quantile, /^\d+(\.\d+)? (ms|s)$/);
});

test("it shows what green threads wait for, who they are and where they come from", async (t) => {
  const server = await startServer(t, "-k", "green", "hello", "--sleep", "600");
  const page = await open(t, server.status);
  load(t, server.url, 6);
  const sleeping = rows(page, "Green threads by what they wait for").filter({ hasText: "sleep" });
  await says(sleeping.getByRole("cell").first(), /^6$/);
  const [, state, name, place, longest] = await cells(sleeping);
  assert.equal(state, "sleep");
  assert.notEqual(name, "–");
  assert.match(place, /\.rs:\d+:\d+$/);
  assert.match(longest, / (ms|s)$/);
});

test("a dump shows each green thread with its call stack", async (t) => {
  const server = await startServer(t, "-k", "green", "hello", "--sleep", "600");
  const page = await open(t, server.status);
  load(t, server.url, 5);
  await says(tile(page, "in flight"), /^5$/);
  const group = page.locator("#threads details").filter({ hasText: "sleep" });
  const groups = () => group.locator("summary").allTextContents();
  // A green thread that does not answer in time, on a busy machine, is listed without its call stack: another look finds it.
  await eventually("a dump with all five call stacks", async () => {
    await page.getByRole("button", { name: "Take a dump" }).press("Enter");
    await says(page.getByRole("status").nth(1), /green threads, at/);
    return (await groups()).length === 1 && (await groups())[0].startsWith("5");
  });
  await group.locator("summary").press("Enter");
  const stacks = group.locator("pre");
  await eventually("all five are shown", async () => await stacks.count() === 5);
  for (const stack of await stacks.allTextContents()) {
    assert.match(stack, /green thread \d+/);
    assert.match(stack, /applications::hello/);
    assert.match(stack, /\(process \d+\)/);
  }
  const filter = page.getByRole("searchbox");
  await filter.fill("no such green thread");
  await eventually("nothing is left", async () => await page.locator("#threads details").count() === 0);
  await filter.fill("applications::hello");
  assert.equal(await page.locator("#threads details").count(), 1);
});

test("hogs are shown with where they were", async (t) => {
  // Unpatched, what sleeps keeps its worker to itself; the other one goes on.
  const server = await startServer(t, "-k", "green", "--green-workers", "2", "--patch", "none", "--timeout", "8", "hello", "--sleep", "6");
  const page = await open(t, server.status);
  await says(page.locator("#no-hogs"), "None so far.");
  await fetch(server.url).then((answer) => answer.text());
  const hog = rows(page, /^Hogs/).first();
  await hog.waitFor();
  const [seen, pid, thread, time] = await cells(hog);
  assert.match(seen, /\d/);
  assert.equal(isRunning(Number(pid)), true);
  assert.match(thread, /^\d+/);
  assert.match(time, /^\d(\.\d)? s$/);
  await says(tile(page, "hogs"), /^[1-9]/);
  await hog.locator("summary").click();
  await says(hog.locator("pre"), "hello");
  await new Promise((resolve) => setTimeout(resolve, 2500));
  assert.equal(await hog.locator("details").getAttribute("open"), "", "what was opened stays open");
});

test("a worker that is replaced is another row, and is counted", async (t) => {
  const server = await startServer(t, "-k", "green");
  const page = await open(t, server.status);
  const only = async () => (await cells(rows(page, "Workers").first())).slice(0, 2);
  await eventually("a worker", async () => (await only())[1] === "ready");
  const [before] = await only();
  process.kill(Number(before), "SIGKILL");
  await eventually("another one", async () => {
    const [pid, state] = await only();
    return pid !== before && state === "ready";
  });
  await says(page.locator("#departures"), "1 killed");
});

test("a server that has gone is told of", async (t) => {
  const server = await startServer(t);
  const page = await open(t, server.status, { allowed: /ERR_CONNECTION_REFUSED/ });
  const state = page.getByRole("status").first();
  await says(state, "ready");
  server.child.kill("SIGTERM");
  await server.exited;
  await says(state, "no answer");
  await page.getByRole("button", { name: "Take a dump" }).click();
  await says(page.getByRole("status").nth(1), "no answer");
});

for (const colorScheme of ["light", "dark"]) {
  test(`nobody is kept out, ${colorScheme}`, async (t) => {
    const server = await startServer(t, "-k", "green", "-w", "2", "hello", "--sleep", "0.3");
    const page = await open(t, server.status, { colorScheme });
    load(t, server.url, 40);
    await says(tile(page, "in flight"), /^40$/);
    await eventually("a rate of some seconds", async () => Number(await tile(page, "requests/s").textContent()) > 40);
    await page.getByRole("button", { name: "Take a dump" }).click();
    // However long each still has to sleep, they are one group; those that do not answer in time, on a busy machine, are another.
    const sleeping = page.locator("#threads summary").filter({ hasText: /sleep — \S*Wait::wait/ });
    await says(sleeping, /^\d+parked: sleep — \S*Wait::wait at …\/\S+\/waiting.rs:\d+$/);
    await sleeping.click();
    await assertAccessible(page);
    await sleeping.click();
    await picture(page, `status-${colorScheme}`);
    await assertFitsNarrowScreens(page);
  });
}
