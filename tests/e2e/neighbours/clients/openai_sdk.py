"""The OpenAI SDK for Python."""

from __future__ import annotations

from typing import Any

import openai

from tests.e2e.neighbours.clients.talk import KEY, TOOL, Failed, Got, main


class OpenAI:
    def __init__(self, asked: dict[str, Any]) -> None:
        self.client = openai.OpenAI(
            base_url=asked["base_url"], api_key=KEY, max_retries=0, default_headers=asked["headers"]
        )
        self.model = asked["model"]
        self.call_headers = asked["call_headers"]

    def user(self, text: str) -> Any:
        return {"role": "user", "content": text}

    def result(self, call: str, text: str) -> Any:
        return {"role": "tool", "tool_call_id": call, "content": text}

    def ask(self, messages: list[Any], step: dict[str, Any]) -> Got:
        more = {"tools": [TOOL]} if step["tool"] else {}
        given = {"model": self.model, "messages": messages, "extra_headers": self.call_headers, **more}
        try:
            if step["stop"]:
                return self._stopped(given)
            if step["stream"]:
                with self.client.chat.completions.stream(**given) as stream:
                    message = stream.get_final_completion().choices[0].message
            else:
                message = self.client.chat.completions.create(**given).choices[0].message
        except openai.APIStatusError as error:
            raise Failed(error.status_code, error.message) from error
        calls = [(each.id, each.function.arguments) for each in message.tool_calls or ()]
        return Got(message.to_dict(), message.content or "", calls)

    def _stopped(self, given: dict[str, Any]) -> Got:
        text = ""
        with self.client.chat.completions.create(**given, stream=True) as stream:
            for chunk in stream:
                text += chunk.choices[0].delta.content or ""
                if len(text.split()) == 2:
                    break
        return Got({"role": "assistant", "content": text}, text)


if __name__ == "__main__":
    main(OpenAI)
