"""The OpenAI SDK for Python over the Responses API. A thin client goes on from the response before, or, where
it is asked to, in a `conversation`.
"""

from __future__ import annotations

from typing import Any

import openai

from tests.e2e.neighbours.clients.talk import KEY, TOOL, Failed, Got, main


class Responses:
    def __init__(self, asked: dict[str, Any]) -> None:
        key = asked.get("key", KEY)
        self.client = openai.OpenAI(
            base_url=asked["base_url"], api_key=key, max_retries=0, default_headers=asked["headers"]
        )
        self.about: dict[str, Any] = {"model": asked["model"]}
        if not asked["thin"]:
            self.about["store"] = False
        self.is_named = "conversation" in asked
        if self.is_named:
            self.about["conversation"] = asked["conversation"]
        self.thin = asked["thin"]
        self.last: dict[str, Any] = {}

    def user(self, text: str) -> Any:
        return [{"role": "user", "content": text}]

    def result(self, call: str, text: str) -> Any:
        return [{"type": "function_call_output", "call_id": call, "output": text}]

    def ask(self, messages: list[Any], step: dict[str, Any]) -> Got:
        function: Any = TOOL["function"]
        tools = {"tools": [{"type": "function", **function}]} if step["tool"] else {}
        items = [item for each in messages for item in each]
        try:
            response = self.answer({**self.about, **self.last, "input": items, **tools}, step)
        except openai.APIStatusError as error:
            raise Failed(error.status_code, error.message) from error
        if self.thin and not self.is_named:
            self.last = {"previous_response_id": response.id}
        output = [each.to_dict() for each in response.output]
        calls = [(each["call_id"], each["arguments"]) for each in output if each["type"] == "function_call"]
        return Got(output, response.output_text, calls)

    def answer(self, given: dict[str, Any], step: dict[str, Any]) -> Any:
        if not step["stream"]:
            return self.client.responses.create(**given)
        with self.client.responses.stream(**given) as stream:
            told = "".join(each.delta for each in stream if each.type == "response.output_text.delta")
            response = stream.get_final_response()
        assert told == response.output_text
        return response


if __name__ == "__main__":
    main(Responses)
