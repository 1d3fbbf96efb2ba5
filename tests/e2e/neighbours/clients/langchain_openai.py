"""LangChain for Python."""

from __future__ import annotations

from typing import Any

import openai
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from tests.e2e.neighbours.clients.talk import KEY, TOOL, Failed, Got, main


class LangChain:
    def __init__(self, asked: dict[str, Any]) -> None:
        self.model = ChatOpenAI(
            base_url=asked["base_url"],
            api_key=KEY,
            model=asked["model"],
            max_retries=0,
            default_headers=asked["headers"],
            use_responses_api=False,
        )
        self.call_headers = asked["call_headers"]

    def user(self, text: str) -> Any:
        return HumanMessage(text)

    def result(self, call: str, text: str) -> Any:
        return ToolMessage(text, tool_call_id=call)

    def ask(self, messages: list[Any], step: dict[str, Any]) -> Got:
        model = self.model.bind_tools([TOOL]) if step["tool"] else self.model
        given = {"extra_headers": self.call_headers} if self.call_headers else {}
        try:
            if step["stop"]:
                return self._stopped(model, messages, given)
            if step["stream"]:
                pieces = list(model.stream(messages, **given))
                message = sum(pieces[1:], pieces[0])
            else:
                message = model.invoke(messages, **given)
        except openai.APIStatusError as error:
            raise Failed(error.status_code, error.message) from error
        return Got(message, message.text, [(each["id"], each["args"]) for each in message.tool_calls])

    def _stopped(self, model: Any, messages: list[Any], given: dict[str, Any]) -> Got:
        text = ""
        stream = model.stream(messages, **given)
        for piece in stream:
            text += piece.text
            if len(text.split()) == 2:
                break
        stream.close()
        return Got(AIMessage(text), text)


if __name__ == "__main__":
    main(LangChain)
