// SPDX-License-Identifier: MIT
// The page of npu-serve in a headless Chromium.
import puppeteer from "puppeteer-core";
import {answer, assert, capital, key, metric, run, until, url} from "./clients.mjs";

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]});
const page = await browser.newPage();
const problems = [], elsewhere = [];
page.on("pageerror", error => problems.push(String(error)));
page.on("console", message => {
  // The browser's own words on a 401, which the page is meant to get, and on a request cut off.
  if (message.type() === "error" && !/status of 40[01]/.test(message.text())) {
    problems.push(message.text());
  }
});
page.on("request", request => {
  if (!request.url().startsWith(url) && !request.url().startsWith("data:")) {
    elsewhere.push(request.url());
  }
});

const text = selector => page.$eval(selector, element => element.textContent);
const all = selector => page.$$eval(selector, list => list.map(element => element.textContent));
const fill = (selector, value) => page.$eval(selector, (element, v) => {
  element.value = v;
  element.dispatchEvent(new Event("change"));
}, value);
async function say(words) {
  await page.type("#input", words);
  await page.keyboard.press("Enter");
}
const answered = async () => !(await page.$eval("#send", button => button.disabled));

try {
  await run({
    async "says that a key is needed, and takes it"() {
      await page.goto(url);
      await until("word of the key", async () => /key/.test(await text("#status")));
      await page.$eval("details", element => { element.open = true; });
      await fill("#key", key);
      await until("the model's name", async () => await text("#model") === "e2e-model");
      await fill("#temperature", "0");
    },
    async "answers, piece by piece"() {
      // Every state that the answer goes through while it comes in.
      await page.evaluate(() => {
        window.seen = [];
        new MutationObserver(() => {
          const last = [...document.querySelectorAll(".assistant")].pop();
          if (last) window.seen.push(last.textContent);
        }).observe(document.querySelector("#log"),
                   {childList: true, subtree: true, characterData: true});
      });
      await say(capital.content);
      await until("the answer", async () => (await all(".assistant"))[0] === answer && await answered());
      assert.deepEqual(await all(".user"), [capital.content]);
      assert.match(await text("#status"), /^\d+ tokens, /);
      const seen = await page.evaluate(() => window.seen);
      assert(seen.every(state => answer.startsWith(state)), seen.join("|"));
    },
    async "goes on with the conversation"() {
      const before = await metric("prompt_tokens_cached_total");
      await say("What is the capital of Japan?");
      await until("the second answer", async () => /Tokyo/.test((await all(".assistant"))[1] ?? ""));
      await until("its end", answered);
      assert(await metric("prompt_tokens_cached_total") - before > 15);
    },
    async "shows markup as text"() {
      await say("<img src=x onerror=alert(1)>");
      await until("the answer's end", answered);
      assert.equal((await all(".user")).pop(), "<img src=x onerror=alert(1)>");
      assert.equal(await page.$("#log img"), null);
    },
    async "resets"() {
      await page.click("#reset");
      assert.deepEqual(await all(".message"), []);
      await say(capital.content);
      await until("an answer", async () => (await all(".assistant"))[0] === answer);
    },
    async "shows an error of the server"() {
      await page.click("#reset");
      await fill("#max_tokens", "0");
      await say("Hello!");
      await until("the error", async () => /max_tokens/.test((await all(".error"))[0] ?? ""));
      await fill("#max_tokens", "");
    },
    async "stops an answer"() {
      await page.goto(process.env.NPU_SERVE_ENDLESS_URL);
      await fill("#temperature", "0");  // then its answer does not end by itself
      await say("go");
      await until("a part of the answer", async () => ((await all(".assistant"))[0] ?? "").length > 20);
      assert.equal(await answered(), false);
      await page.click("#stop");
      await until("the end", answered);
      assert.equal(await text("#status"), "stopped");
      const then = (await all(".assistant"))[0];
      await new Promise(resolve => setTimeout(resolve, 300));
      assert.equal((await all(".assistant"))[0], then);
    },
    async "without an error of its own, and with nothing from elsewhere"() {
      assert.deepEqual(problems, []);
      assert.deepEqual(elsewhere.filter(
        to => !to.startsWith(process.env.NPU_SERVE_ENDLESS_URL)), []);
    },
  });
} finally {
  await browser.close();
}
