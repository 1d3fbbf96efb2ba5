// The OpenAI SDK for Node.
import OpenAI from "openai";
import { Failed, KEY, TOOL, main, twoWords } from "./talk.mjs";

await main((asked) => {
  const client = new OpenAI({
    baseURL: asked.base_url,
    apiKey: KEY,
    maxRetries: 0,
    defaultHeaders: asked.headers,
  });
  const perCall = { headers: asked.call_headers };

  async function* texts(stream) {
    for await (const chunk of stream) yield chunk.choices[0].delta.content ?? "";
  }

  async function ask(messages, step) {
    const body = { model: asked.model, messages, ...(step.tool && { tools: [{ type: "function", function: TOOL }] }) };
    if (step.stop) {
      const stream = await client.chat.completions.create({ ...body, stream: true }, perCall);
      const text = await twoWords(texts(stream), () => stream.controller.abort());
      return { message: { role: "assistant", content: text }, text, calls: [] };
    }
    const completion = step.stream
      ? await client.chat.completions.stream(body, perCall).finalChatCompletion()
      : await client.chat.completions.create(body, perCall);
    const { message } = completion.choices[0];
    const calls = (message.tool_calls ?? []).map((each) => ({ id: each.id, arguments: each.function.arguments }));
    return { message, text: message.content ?? "", calls };
  }

  return {
    user: (text) => ({ role: "user", content: text }),
    result: (id, text) => ({ role: "tool", tool_call_id: id, content: text }),
    ask: (messages, step) =>
      ask(messages, step).catch((error) => {
        throw error instanceof OpenAI.APIError && error.status ? new Failed(error.status, error.error?.message ?? error.message) : error;
      }),
  };
});
