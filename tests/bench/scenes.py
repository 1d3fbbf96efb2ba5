"""A chat and an agent's work, played by a client, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from tests.bench import played
from tests.bench.asking import Answer
from tests.bench.clients import Client

__all__ = ["chat", "cost", "table", "work"]

COLUMNS = ("tokens sent", "processed", "cached", "context kept", "TTFT median", "TTFT worst")


async def chat(client: Client, turns: int) -> None:
    """So many questions and answers."""
    for at in range(turns):
        _worked(await client.say(played.question(at)))


async def work(client: Client, steps: int) -> None:
    """One question and so many calls of a tool, with an answer at the end."""
    _worked(await client.say(played.task(), shape="call 0"))
    for at in range(1, steps):
        _worked(await client.result(played.document(at), shape=f"call {at}"))
    _worked(await client.result(played.document(steps)))


def _worked(answer: Answer) -> None:
    if answer.error:
        raise RuntimeError(f"the engine refused: {answer.error[:500]}")


def cost(answers: Sequence[Answer]) -> tuple[str, ...]:
    """A row: what all of it cost, and how much context the second half had."""
    sent, processed = sum(each.prompt for each in answers), sum(each.processed for each in answers)
    late = [each.prompt for each in answers[len(answers) // 2 :]]
    firsts = [each.first for each in answers]
    return (
        f"{sent:,}",
        f"{processed:,}",
        f"{1 - processed / sent:.1%}",
        f"{fmean(late):,.0f}",
        f"{median(firsts) * 1000:,.0f} ms",
        f"{max(firsts) * 1000:,.0f} ms",
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown, the first column to the left and the others to the right."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
