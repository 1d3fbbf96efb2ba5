"""What the OpenAI SDK for Python makes of replies.

In, on standard input: `{"base_url", "asks": [{"id", "stream", more of the request ...}]}`. Out, for each:
`{"message", "finish", "model", "usage"}`, or `{"error"}` where the SDK could not read the reply.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai

from tests.e2e.neighbours.clients.talk import KEY, MODEL


def main() -> None:
    asked = json.load(sys.stdin)
    client = openai.OpenAI(base_url=asked["base_url"], api_key=KEY, max_retries=0)
    print(json.dumps([_assembled(client, **each) for each in asked["asks"]]))


def _assembled(client: openai.OpenAI, *, id: str, stream: bool, **more: Any) -> dict[str, Any]:
    given = {"model": MODEL, "extra_headers": {"X-Conversation-ID": id}, **more}
    try:
        if stream:
            with client.chat.completions.stream(**given) as events:
                completion = events.get_final_completion()
        else:
            completion = client.chat.completions.create(**given)
    except Exception as error:  # what the SDK cannot read
        return {"error": repr(error)}
    told = completion.to_dict(mode="json")
    choice: Any = told["choices"][0]
    return {
        "message": choice["message"],
        "finish": choice["finish_reason"],
        "model": told["model"],
        "usage": told.get("usage"),
    }


if __name__ == "__main__":
    main()
