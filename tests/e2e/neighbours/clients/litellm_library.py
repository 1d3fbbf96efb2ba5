"""LiteLLM as a library."""

from __future__ import annotations

from typing import Any

import litellm
import openai

from tests.e2e.neighbours.clients.talk import KEY, TOOL, Failed, Got, main


class LiteLLM:
    def __init__(self, asked: dict[str, Any]) -> None:
        self.base_url = asked["base_url"]
        self.model = asked["model"]
        self.headers = {**asked["headers"], **asked["call_headers"]}

    def user(self, text: str) -> Any:
        return {"role": "user", "content": text}

    def result(self, call: str, text: str) -> Any:
        return {"role": "tool", "tool_call_id": call, "content": text}

    def ask(self, messages: list[Any], step: dict[str, Any]) -> Got:
        try:
            answer = litellm.completion(
                model=f"openai/{self.model}",
                messages=messages,
                api_base=self.base_url,
                api_key=KEY,
                max_retries=0,
                extra_headers=self.headers,
                stream=step["stream"],
                **({"tools": [TOOL]} if step["tool"] else {}),
            )
            if step["stop"]:
                return self._stopped(answer)
            if step["stream"]:
                answer = litellm.stream_chunk_builder(list(answer), messages=messages)
        except openai.APIStatusError as error:
            raise Failed(error.status_code, error.message) from error
        message = answer.choices[0].message
        calls = [(each.id, each.function.arguments) for each in message.tool_calls or ()]
        return Got(message.model_dump(exclude_none=True), message.content or "", calls)

    def _stopped(self, stream: Any) -> Got:
        text = ""
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            if len(text.split()) == 2:
                break
        stream.completion_stream.close()
        return Got({"role": "assistant", "content": text}, text)


if __name__ == "__main__":
    main(LiteLLM)
