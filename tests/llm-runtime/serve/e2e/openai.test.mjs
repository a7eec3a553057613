// SPDX-License-Identifier: MIT
// OpenAI's own client against npu-serve.
import OpenAI from "openai";
import {answer, assert, capital, key, metric, run, until, url} from "./clients.mjs";

const client = new OpenAI({baseURL: `${url}/v1`, apiKey: key, maxRetries: 0});
const greedy = {model: "any", messages: [capital], temperature: 0};

async function textOf(stream) {
  let text = "", finish = null, usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  return {text, finish, usage};
}

await run({
  async "a chat"() {
    const got = await client.chat.completions.create(greedy);
    assert.equal(got.choices[0].message.content, answer);
    assert.equal(got.choices[0].message.role, "assistant");
    assert.equal(got.choices[0].finish_reason, "stop");
    assert.equal(got.usage.total_tokens, got.usage.prompt_tokens + got.usage.completion_tokens);
  },
  async "a streamed chat"() {
    const stream = await client.chat.completions.create(
      {...greedy, stream: true, stream_options: {include_usage: true}});
    const {text, finish, usage} = await textOf(stream);
    assert.equal(text, answer);
    assert.equal(finish, "stop");
    assert(usage.completion_tokens > 3);
  },
  async "the client's own helper for streams"() {
    const runner = client.chat.completions.stream(greedy);
    assert.equal(await runner.finalContent(), answer);
  },
  async "parts, a system message, limits and stop strings"() {
    const parts = {role: "user", content: [{type: "text", text: capital.content}]};
    let got = await client.chat.completions.create({...greedy, messages: [parts],
                                                    max_completion_tokens: 3});
    assert.equal(got.choices[0].message.content, "The capital of");
    assert.equal(got.choices[0].finish_reason, "length");
    got = await client.chat.completions.create({...greedy, stop: ["Paris"]});
    assert.equal(got.choices[0].message.content, "The capital of France is ");
    const system = {role: "system", content: "You are a helpful assistant."};
    got = await client.chat.completions.create({...greedy, messages: [system, capital]});
    assert.equal(got.choices[0].message.content, answer);
  },
  async "a conversation is evaluated once"() {
    const messages = [capital, {role: "assistant", content: answer},
                      {role: "user", content: "What is the capital of Japan?"}];
    const got = await client.chat.completions.create({...greedy, messages});
    assert(got.usage.prompt_tokens_details.cached_tokens > 15);
    assert.match(got.choices[0].message.content, /Tokyo/);
  },
  async "the same seed says the same"() {
    const ask = seed => client.chat.completions.create(
      {...greedy, temperature: 1.5, seed, max_tokens: 20});
    const [a, b] = [await ask(7), await ask(7)];
    assert.equal(a.choices[0].message.content, b.choices[0].message.content);
  },
  async "twenty at once"() {
    const all = await Promise.all(Array.from({length: 20}, async (_, i) => i % 2 === 0
      ? (await client.chat.completions.create(greedy)).choices[0].message.content
      : (await textOf(await client.chat.completions.create({...greedy, stream: true}))).text));
    assert.deepEqual(all, Array(20).fill(answer));
  },
  async "completions, of several prompts too"() {
    const one = await client.completions.create({model: "any", prompt: "What is", temperature: 0});
    assert.equal(one.object, "text_completion");
    const two = await client.completions.create(
      {model: "any", prompt: ["What is", "Hello"], temperature: 0});
    assert.equal(two.choices.length, 2);
    assert.equal(two.choices[0].text, one.choices[0].text);
    let text = "";
    for await (const chunk of await client.completions.create(
      {model: "any", prompt: "What is", temperature: 0, stream: true})) {
      text += chunk.choices[0].text;
    }
    assert.equal(text, one.choices[0].text);
  },
  async "models"() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.deepEqual(ids, ["e2e-model"]);
  },
  async "errors are the client's classes"() {
    await assert.rejects(client.chat.completions.create({...greedy, temperature: -1}), error =>
      error instanceof OpenAI.BadRequestError && error.param === "temperature" &&
      /temperature/.test(error.message));
    await assert.rejects(client.chat.completions.create({...greedy, tools: [
      {type: "function", function: {name: "f", parameters: {}}}]}), OpenAI.BadRequestError);
    const long = {role: "user", content: "word ".repeat(2000)};
    await assert.rejects(client.chat.completions.create({...greedy, messages: [long]}), error =>
      error instanceof OpenAI.BadRequestError && error.code === "context_length_exceeded");
    const stranger = new OpenAI({baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0});
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
    await assert.rejects(client.embeddings.create({model: "any", input: "a"}),
                         OpenAI.NotFoundError);
  },
  async "a stream that the client leaves frees its session"() {
    const stream = await client.chat.completions.create(
      {...greedy, messages: [{role: "user", content: "What is an NPU?"}], stream: true});
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    await until("no session is taken", async () => await metric("sessions_active") === 0);
  },
});
