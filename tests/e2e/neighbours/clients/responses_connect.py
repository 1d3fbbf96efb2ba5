"""The OpenAI SDK for Python over one WebSocket. A thin client sends what is new, and nothing is stored."""

from __future__ import annotations

from typing import Any

from tests.e2e.neighbours.clients.responses_openai import Responses
from tests.e2e.neighbours.clients.talk import Failed, main


class Connected(Responses):
    def __init__(self, asked: dict[str, Any]) -> None:
        super().__init__(asked)
        self.about["store"] = False
        self.connection = self.client.responses.connect().enter()

    def answer(self, given: dict[str, Any], step: dict[str, Any]) -> Any:
        self.connection.response.create(**given)
        told = ""
        for event in self.connection:
            if event.type == "response.output_text.delta":
                told += event.delta
            elif event.type == "error":
                raise Failed(getattr(event, "status", None), str(event))
            elif event.type == "response.completed":
                assert told == event.response.output_text
                return event.response
        raise Failed(None, "the connection ended")


if __name__ == "__main__":
    main(Connected)
