// The Vercel AI SDK with OpenAI's own provider, over the Responses API. A thin client goes on from the response before.
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateText, jsonSchema, streamText, tool } from "ai";
import { Failed, KEY, TOOL, main } from "./talk.mjs";

await main((asked) => {
  const provider = createOpenAI({ baseURL: asked.base_url, apiKey: KEY, headers: asked.headers });
  const tools = { weather: tool({ description: TOOL.description, inputSchema: jsonSchema(TOOL.parameters) }) };
  let previousResponseId;

  async function ask(messages, step) {
    let failure;
    const given = {
      model: provider.responses(asked.model),
      messages: messages.flat(),
      maxRetries: 0,
      onError: ({ error }) => (failure = error),
      providerOptions: { openai: asked.thin ? { previousResponseId } : { store: asked.store ?? false } },
      ...(step.tool && { tools }),
    };
    const result = step.stream ? streamText(given) : await generateText(given);
    if (step.stream) {
      await result.consumeStream();
      if (failure) throw failure;
    }
    if (asked.thin) previousResponseId = (await result.providerMetadata).openai.responseId;
    const calls = (await result.toolCalls).map((each) => ({ id: each.toolCallId, arguments: each.input }));
    return { message: (await result.response).messages, text: await result.text, calls };
  }

  return {
    user: (text) => ({ role: "user", content: text }),
    result: (id, text) => ({
      role: "tool",
      content: [{ type: "tool-result", toolCallId: id, toolName: "weather", output: { type: "text", value: text } }],
    }),
    ask: (messages, step) =>
      ask(messages, step).catch((error) => {
        if (APICallError.isInstance(error)) throw new Failed(error.statusCode, error.message);
        throw error;
      }),
  };
});
