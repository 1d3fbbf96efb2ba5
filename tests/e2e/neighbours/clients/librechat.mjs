// What LibreChat itself talks with: the runs and titles of @librechat/agents. It answers the header templates of
// librechat.yaml before each request as LibreChat does; here that is already done.
// In: {"base_url", "chats": [{"headers", "say": [...], "title": null | "completion" | "structured"}]}
import { readFileSync } from "node:fs";
import { HumanMessage } from "@librechat/agents/langchain/messages";
import { Providers, Run } from "@librechat/agents";

const asked = JSON.parse(readFileSync(0, "utf8"));
const results = [];
for (const { headers, say, title } of asked.chats) {
  const client = {
    apiKey: "sk-a-key",
    model: "m",
    maxRetries: 0,
    configuration: { baseURL: asked.base_url, defaultHeaders: headers },
  };
  const messages = [];
  for (const text of say) {
    const run = await Run.create({
      runId: `run-${messages.length}`,
      graphConfig: { type: "standard", llmConfig: { provider: Providers.OPENAI, streaming: true, ...client } },
      returnContent: true,
    });
    messages.push(new HumanMessage(text));
    const config = { configurable: { thread_id: "t" }, streamMode: "values", version: "v2" };
    const parts = await run.processStream({ messages }, config);
    messages.push(...run.getRunMessages());
    const said = { text: parts.map((part) => part.text).join("") };
    if (title) {
      const options = { provider: Providers.OPENAI, clientOptions: client, inputText: text, titleMethod: title };
      said.title = (await run.generateTitle({ ...options, contentParts: parts })).title;
    }
    results.push(said);
  }
}
console.log(JSON.stringify(results));
process.exit(0);
