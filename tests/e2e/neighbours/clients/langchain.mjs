// LangChain for JavaScript, made as n8n's node "OpenAI Chat Model" makes it with "Use Responses API" off: base URL
// and "Add Custom Header" are fields of its OpenAI credential. (n8n's default is two retries.)
import { AIMessage, HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { Failed, KEY, TOOL, main, twoWords } from "./talk.mjs";

await main((asked) => {
  const plain = new ChatOpenAI({
    apiKey: KEY,
    model: asked.model,
    maxRetries: 0,
    // Headers given to one call do not reach a streamed request (1.5.8), so these are the model's own.
    configuration: { baseURL: asked.base_url, defaultHeaders: { ...asked.headers, ...asked.call_headers } },
    modelKwargs: {},
    supportsStrictToolCalling: false,
  });

  async function* texts(stream) {
    for await (const piece of stream) yield piece.text;
  }

  async function ask(messages, step) {
    const model = step.tool ? plain.bindTools([{ type: "function", function: TOOL }]) : plain;
    if (step.stop) {
      const leave = new AbortController();
      const stream = await model.stream(messages, { signal: leave.signal });
      const text = await twoWords(texts(stream), () => leave.abort());
      return { message: new AIMessage(text), text, calls: [] };
    }
    let message;
    if (step.stream) {
      for await (const piece of await model.stream(messages)) message = message ? message.concat(piece) : piece;
    } else {
      message = await model.invoke(messages);
    }
    const calls = (message.tool_calls ?? []).map((each) => ({ id: each.id, arguments: each.args }));
    return { message, text: message.text, calls };
  }

  return {
    user: (text) => new HumanMessage(text),
    result: (id, text) => new ToolMessage({ content: text, tool_call_id: id }),
    ask: (messages, step) =>
      ask(messages, step).catch((error) => {
        throw error.status ? new Failed(error.status, error.error?.message ?? error.message) : error;
      }),
  };
});
