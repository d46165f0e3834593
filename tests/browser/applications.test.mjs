// The pages of examples/applications, as a person would use them.

import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";

import { assertAccessible, assertFitsNarrowScreens, eventually, open, says, start } from "./browser.mjs";

async function startApplication(t, name, environment = {}) {
  const program = path.join(process.env.PROGRAMS, name);
  const server = await start(t, program, ["-k", "green", "-b", "127.0.0.1:0"], { mark: /Listening at: (http:[\w./:]+\d)/, environment });
  return { ...server, url: server.found[1] };
}

async function enter(page, name, room) {
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Room").fill(room);
  await page.keyboard.press("Enter");
  await says(page.getByRole("status"), `You are in room ${room}.`);
}

test("in the chat all in a room hear what is said there, and nobody else", async (t) => {
  const { url } = await startApplication(t, "chat");
  const [ada, bob, cleo] = await Promise.all([1, 2, 3].map(() => open(t, url)));
  assert.equal(await ada.evaluate(() => document.activeElement.name), "who", "one can type at once");
  await enter(ada, "Ada", "kitchen");
  await enter(bob, "Bob", "attic");
  await enter(cleo, "Cléo <b>", "kitchen");
  await cleo.keyboard.type("tea?");
  await cleo.keyboard.press("Enter");
  for (const page of [ada, cleo]) await says(page.getByRole("log"), "Cléo <b>: tea?");
  assert.equal(await cleo.getByLabel("Say").inputValue(), "");
  await ada.getByLabel("Say").fill("with milk");
  await ada.getByRole("button", { name: "Send" }).click();
  await says(cleo.getByRole("log").getByRole("listitem").last(), "Ada: with milk");
  assert.deepEqual(await bob.getByRole("log").getByRole("listitem").allTextContents(), ["Bob: enters"]);
  await assertAccessible(ada);
  await cleo.close();
  await says(ada.getByRole("log"), "Cléo <b>: leaves");
});

test("the chat lets one in again after the server was away", async (t) => {
  const { url, child, exited } = await startApplication(t, "chat");
  const page = await open(t, url, { allowed: /WebSocket connection|ERR_CONNECTION_REFUSED/ });
  await assertAccessible(page);
  await page.getByRole("button", { name: "Enter" }).click();
  assert.equal(await page.getByRole("status").textContent(), "", "nobody enters without a name");
  await enter(page, "Ada", "kitchen");
  child.kill("SIGTERM");
  await exited;
  await says(page.getByRole("status"), "You are out.");
  await page.getByRole("button", { name: "Enter" }).waitFor();
});

test("events are shown as they come, and again after the server was away", async (t) => {
  const { url, child, exited } = await startApplication(t, "events");
  const page = await open(t, url, { allowed: /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING/ });
  // What is written beside the meter is a status, too.
  const state = page.locator("p").and(page.getByRole("status"));
  await says(state, /Event \d+/);
  const [first] = /\d+/.exec(await state.textContent());
  await eventually("another event", async () => Number(/\d+/.exec(await state.textContent())) > Number(first));
  const [shown, written] = await page.getByLabel("Last minute").evaluate((meter) =>
    [meter.value.toFixed(2), document.querySelector("output").value]);
  assert.match(written, /^\d+\.\d\d$/);
  assert.equal(shown, written, "also on a machine that is very busy");
  await assertAccessible(page);
  child.kill("SIGQUIT");
  await exited;
  await says(state, "The server is gone; connecting again");
});

test("long polling shows in each window what was said in any", async (t) => {
  const { url } = await startApplication(t, "long_polling");
  const [one, other] = [await open(t, url), await open(t, url)];
  for (const [page, text] of [[one, "hello"], [other, "hello <i>yourself</i>"], [one, "how are you?"]]) {
    await page.getByLabel("Say").fill(text);
    await page.keyboard.press("Enter");
    for (const each of [one, other]) await says(each.getByRole("log"), text);
  }
  const said = ["hello", "hello <i>yourself</i>", "how are you?"];
  for (const each of [one, other]) assert.deepEqual(await each.getByRole("listitem").allTextContents(), said);
  const late = await open(t, url);
  await says(late.getByRole("log"), "how are you?");
  await assertAccessible(late);
});

test("long polling goes on after the server was away", async (t) => {
  const { url, child, exited } = await startApplication(t, "long_polling");
  const page = await open(t, url, { allowed: /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|503/ });
  await page.getByLabel("Say").fill("hello");
  await page.keyboard.press("Enter");
  await says(page.getByRole("log"), "hello");
  child.kill("SIGQUIT");
  await exited;
  await says(page.getByRole("status"), "asking again");
  await page.getByLabel("Say").fill("anybody there?");
  await page.getByRole("button", { name: "Send" }).click();
  await says(page.getByRole("alert"), "'anybody there?' was not sent");
  assert.equal(await page.getByLabel("Say").inputValue(), "anybody there?", "what was typed is not lost");
});

test("an image is shown before and after it is uploaded", async (t) => {
  const { url } = await startApplication(t, "images", { S3_URL: process.env.S3_URL });
  // An image by itself is no page that could name an icon, so the browser asks for one.
  const page = await open(t, url, { allowed: /404 \(Not Found\)/ });
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  assert.equal(page.url(), `${url}/`, "without an image nothing is sent");
  const image = await page.screenshot();
  await page.getByLabel("An image to upload").setInputFiles({ name: "a page?.png", mimeType: "image/png", buffer: image });
  const preview = page.getByRole("img", { name: "a page?.png" });
  await preview.waitFor();
  const width = (picture) => picture.evaluate((it) => it.decode().then(() => it.naturalWidth));
  assert.equal(await width(preview), 1040);
  await assertAccessible(page);
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  await page.waitForURL(`${url}/images/a%20page%3F.png`);
  assert.equal(await width(page.locator("img")), 1040);
});

for (const name of ["chat", "events", "long_polling", "images"]) {
  test(`${name} fits a telephone, light and dark`, async (t) => {
    const { url } = await startApplication(t, name, { S3_URL: process.env.S3_URL });
    for (const colorScheme of ["light", "dark"]) {
      const page = await open(t, url, { colorScheme });
      await assertAccessible(page);
      await assertFitsNarrowScreens(page);
    }
  });
}
