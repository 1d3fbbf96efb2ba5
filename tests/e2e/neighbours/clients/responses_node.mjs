// The OpenAI SDK for Node over the Responses API. A thin client goes on from the response before.
import OpenAI from "openai";
import { Failed, KEY, TOOL, main } from "./talk.mjs";

await main((asked) => {
  const client = new OpenAI({ baseURL: asked.base_url, apiKey: KEY, maxRetries: 0, defaultHeaders: asked.headers });
  const tools = [{ type: "function", name: "weather", description: TOOL.description, parameters: TOOL.parameters }];
  let last = {};

  async function ask(messages, step) {
    const given = {
      model: asked.model,
      input: messages.flat(),
      ...last,
      ...(!asked.thin && { store: false }),
      ...(step.tool && { tools }),
    };
    const response = await (step.stream
      ? client.responses.stream(given).finalResponse()
      : client.responses.create(given));
    if (asked.thin) last = { previous_response_id: response.id };
    const calls = response.output.filter((each) => each.type === "function_call");
    return {
      message: response.output,
      text: response.output_text,
      calls: calls.map((each) => ({ id: each.call_id, arguments: each.arguments })),
    };
  }

  return {
    user: (text) => [{ role: "user", content: text }],
    result: (id, text) => [{ type: "function_call_output", call_id: id, output: text }],
    ask: (messages, step) =>
      ask(messages, step).catch((error) => {
        if (error instanceof OpenAI.APIError) throw new Failed(error.status, error.message);
        throw error;
      }),
  };
});
