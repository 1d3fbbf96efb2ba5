"""LangChain with OpenAI over the Responses API. A thin client goes on from the response before by itself."""

from __future__ import annotations

from typing import Any

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from tests.e2e.neighbours.clients.talk import KEY, TOOL, Failed, Got, main


class LangChain:
    def __init__(self, asked: dict[str, Any]) -> None:
        self.model = ChatOpenAI(
            model=asked["model"],
            base_url=asked["base_url"],
            api_key=KEY,
            max_retries=0,
            default_headers=asked["headers"],
            use_responses_api=True,
            use_previous_response_id=asked["thin"],
            store=None if asked["thin"] else False,
        )
        self.thin = asked["thin"]
        self.last: list[Any] = []

    def user(self, text: str) -> Any:
        return HumanMessage(text)

    def result(self, call: str, text: str) -> Any:
        return ToolMessage(text, tool_call_id=call)

    def ask(self, messages: list[Any], step: dict[str, Any]) -> Got:
        model = self.model.bind_tools([TOOL]) if step["tool"] else self.model
        messages = [*self.last, *messages]
        try:
            message = self._streamed(model, messages) if step["stream"] else model.invoke(messages)
        except openai.APIStatusError as error:
            raise Failed(error.status_code, error.message) from error
        if self.thin:
            self.last = [message]  # of which it sends the id alone
        return Got(message, message.text, [(each["id"], each["args"]) for each in message.tool_calls])

    def _streamed(self, model: Any, messages: list[Any]) -> Any:
        first, *rest = model.stream(messages)
        for each in rest:
            first += each
        return first


if __name__ == "__main__":
    main(LangChain)
