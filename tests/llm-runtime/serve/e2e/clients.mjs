// SPDX-License-Identifier: MIT
// What the tests here share: the server that run.sh started, and checks that name what they wanted.
import {strict as assert} from "node:assert";

export {assert};
export const url = process.env.NPU_SERVE_URL;
export const key = process.env.NPU_SERVE_API_KEY;
assert(url && key, "to be started by run.sh");

export const capital = {role: "user", content: "What is the capital of France?"};
export const answer = "The capital of France is Paris.";

// Runs tests one after the other and says which one failed.
export async function run(tests) {
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test();
      console.log(`ok      ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${name}\n${error.stack}`);
    }
  }
  process.exitCode = failed === 0 ? 0 : 1;
}

export async function metric(name) {
  const response = await fetch(`${url}/metrics`, {headers: {Authorization: `Bearer ${key}`}});
  const line = (await response.text()).split("\n").find(l => l.startsWith(`npu_serve_${name} `));
  return Number(line.split(" ")[1]);
}

// Waits for what takes a moment.
export async function until(what, condition) {
  for (let i = 0; i < 600; i++) {
    if (await condition()) return;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  assert.fail(`waited half a minute for: ${what}`);
}
