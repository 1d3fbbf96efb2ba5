// What the Vercel AI SDK makes of replies: it reads the same as assembled.py, and prints for each
// {text, reasoning, calls: [{id, name, input}], finish, usage}, or {error}.
import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, streamText, tool } from "ai";
import { KEY, MODEL } from "./talk.mjs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const results = [];
for (const each of asked.asks) {
  results.push(await assembled(each).catch((error) => ({ error: `${error.name}: ${error.message}` })));
}
console.log(JSON.stringify(results));

async function assembled({ id, stream, messages, tools = [], tool_choice, response_format, ...more }) {
  const provider = createOpenAICompatible({
    name: "sidecar",
    baseURL: asked.base_url,
    apiKey: KEY,
    headers: { "X-Conversation-ID": id },
    includeUsage: true,
    transformRequestBody: (body) => ({ ...body, ...more, ...(response_format && { response_format }) }),
  });
  let failure;
  const made = tools.map((each) => [
    each.function.name,
    tool({ description: each.function.description, inputSchema: jsonSchema(each.function.parameters) }),
  ]);
  const given = {
    model: provider(MODEL),
    messages,
    maxRetries: 0,
    onError: ({ error }) => (failure = error),
    ...(made.length > 0 && { tools: Object.fromEntries(made) }),
    ...(tool_choice && { toolChoice: tool_choice }),
  };
  const result = stream ? streamText(given) : await generateText(given);
  if (stream) {
    await result.consumeStream();
    if (failure) throw failure;
  }
  const calls = (await result.toolCalls).map((call) => ({
    id: call.toolCallId,
    name: call.toolName,
    input: call.input,
  }));
  return {
    text: await result.text,
    reasoning: (await result.reasoningText) ?? "",
    calls,
    finish: await result.finishReason,
    usage: await result.usage,
  };
}
