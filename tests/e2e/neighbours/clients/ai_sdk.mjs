// The Vercel AI SDK with its provider for OpenAI-compatible servers.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, MissingToolResultsError, generateText, jsonSchema, streamText, tool } from "ai";
import { Failed, KEY, TOOL, main, twoWords } from "./talk.mjs";

await main((asked) => {
  const provider = createOpenAICompatible({
    name: "sidecar",
    baseURL: asked.base_url,
    apiKey: KEY,
    headers: asked.headers,
  });
  const tools = { weather: tool({ description: TOOL.description, inputSchema: jsonSchema(TOOL.parameters) }) };

  async function ask(messages, step) {
    let failure;
    const given = {
      model: provider(asked.model),
      messages: messages.flat(),
      maxRetries: 0,
      headers: asked.call_headers,
      onError: ({ error }) => (failure = error),
      ...(step.tool && { tools }),
    };
    if (step.stop) {
      const leave = new AbortController();
      const { textStream } = streamText({ ...given, abortSignal: leave.signal });
      const text = await twoWords(textStream, () => leave.abort());
      return { message: { role: "assistant", content: text }, text, calls: [] };
    }
    const result = step.stream ? streamText(given) : await generateText(given);
    if (step.stream) {
      await result.consumeStream();
      if (failure) throw failure;
    }
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
        // A call whose result was refused stays open in its history, and it refuses that itself.
        throw MissingToolResultsError.isInstance(error) ? new Failed(null, error.message) : error;
      }),
  };
});
