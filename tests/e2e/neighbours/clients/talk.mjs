// The same as talk.py, for libraries of Node: it says what is read and what is printed.
import { readFileSync } from "node:fs";

export const KEY = "sk-7b1f0e93c5d24a86b0e7d1a4c9f23568";
export const MODEL = "m";
export const RESULT = "5 degrees";
export const TOOL = {
  name: "weather",
  description: "The weather",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

export class Failed extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** `make(asked)` gives `user(text)`, `result(id, text)` and `ask(messages, step)` -> {message, text, calls}. */
export async function main(make) {
  const results = [];
  for (const asked of JSON.parse(readFileSync(0, "utf8"))) results.push(await conversation(make(asked), asked));
  console.log(JSON.stringify(results));
}

async function conversation(library, asked) {
  const history = [];
  const results = [];
  for (const step of asked.steps) {
    try {
      results.push(await turn(library, history, step, asked.thin));
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      results.push({ error: { status: error.status, message: error.message } });
    }
    if (step.stop) await new Promise((resolve) => setTimeout(resolve, 500)); // nobody types faster
  }
  return results;
}

async function turn(library, history, step, thin) {
  let fresh = [library.user(step.say)];
  const called = [];
  for (;;) {
    const got = await library.ask(thin ? fresh : [...history, ...fresh], step);
    history.push(...fresh, got.message);
    called.push(...got.calls.map((each) => each.arguments));
    if (got.calls.length === 0) return { text: got.text, called };
    fresh = got.calls.map((each) => library.result(each.id, RESULT));
  }
}

/** Reads pieces of text until there are two words, and then stops. */
export async function twoWords(pieces, stop) {
  let text = "";
  try {
    for await (const piece of pieces) {
      text += piece;
      if (text.trim().split(/\s+/).length === 2) stop();
    }
  } catch (error) {
    if (!/abort/i.test(`${error.name} ${error.message}`)) throw error;
  }
  return text;
}
