"""The section `[trim]`: how much of a history goes upstream."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from sidecar.settings.section import Section
from sidecar.settings.values import (
    AnswerShare,
    AutoLimit,
    AutoSwitch,
    Limit,
    Pattern,
    RecallShare,
    Seconds,
    Share,
    Window,
)

__all__ = ["ModelTrim", "Trim"]


class ModelTrim(Section):
    """The budget of the models whose name fits `match`; what is not set is as for all."""

    match: Pattern
    window: Window = None
    max_messages: Limit = None
    max_turns: Limit = None
    max_input_tokens: AutoLimit = "auto"


class Trim(Section):
    """How much history goes upstream. What is stored is never trimmed.

    A budget of its own for some models, keys that are left out are as for all:
    `models = [{match = "gpt-4o*", window = 128000, max_turns = 40}, {match = "o3", max_messages = "none"}]`.
    """

    max_messages: Limit = Field(
        None, description="Maximum number of messages sent upstream; `none` for no limit."
    )
    max_turns: Limit = Field(
        None, description="Maximum number of turns sent upstream, the newest included; `none` for no limit."
    )
    max_input_tokens: AutoLimit = Field(
        "auto",
        description="Maximum number of tokens sent upstream, estimated; `none` for no limit. `auto` is the"
        " model's context window minus the space reserved for the answer, once the window is known: from"
        " `trim.models`, or the upstream's refusal of a longer prompt. Before a refusal a prompt is cut only"
        " if the engine itself (no catalogue) tells the window of the model that it runs, and the prompt"
        " surely exceeds it.",
    )
    answer_share: AnswerShare = Field(
        0.25,
        description="With `auto`: the share of the window reserved for the answer if the request does not set"
        " `max_tokens`; at most 0.5.",
    )
    window_refresh: Seconds = Field(
        3600.0,
        description="With `auto`: how often the upstream's model list is fetched again, in seconds; 0 never"
        " fetches it. No request waits for it.",
    )
    models: tuple[ModelTrim, ...] = Field(
        (),
        description="Budgets for some models: a list of tables with `match` (a name, with `*` and `?` as in"
        " file names) and any of `window`, `max_messages`, `max_turns`, `max_input_tokens`; JSON in the"
        " environment. The first match is used.",
    )
    step: Share = Field(
        0.6,
        description="The cut moves in steps of this share of the budget, so that the upstream's prefix cache"
        " keeps hitting in between. A smaller step keeps more context, a larger one costs less. Above 0, up"
        " to 1.",
    )
    keep_first_turn: AutoSwitch = Field(
        "auto",
        description="Keep the conversation's first turn, which often holds an agent's task, unless it takes"
        " more than half of the tokens: then it goes in parts, like every turn that is longer than a step."
        " `auto` keeps it only where it takes no more than `trim.first_turn_share` of a limit, and the newest"
        " turn fits beside it.",
    )
    first_turn_share: Share = Field(
        0.25,
        description="With `trim.keep_first_turn` on `auto`: the share of each limit that the first turn may"
        " take.",
    )
    recall: RecallShare = Field(
        0.0,
        description="Above 0, what was dropped from a chat comes back where the newest question asks for it:"
        " the messages that fit it best are quoted in front of it, in this share of the budget (and most of"
        " what the step leaves free; never more than 4,000 tokens). Found by their words, without a model."
        " At most 0.5; a quarter (0.25) is a good share. Only with a budget in tokens.",
    )
    on_silent_cut: Literal["warn", "trim"] = Field(
        "warn",
        description="When the upstream counts far fewer tokens than were sent, and so seems to cut prompts"
        " silently: `warn` says so in a response header, a metric and the log, `trim` also fits the next"
        " prompts to what it counted.",
    )
    on_overflow: Literal["heal", "pass"] = Field(
        "heal",
        description="When the upstream refuses a prompt for its length: `heal` cuts it and sends it again,"
        " `pass` gives the upstream's error to the client. Agents that name their chats by a header of their"
        " own always get the error, since they wait for it to compact their history. The request header"
        " `X-Sidecar-Trim: off` has one request neither cut nor healed.",
    )

    def rule(self, model: str | None) -> ModelTrim | None:
        """The first of `models` whose pattern fits the name of a model."""
        for rule in self.models:
            if fnmatchcase(model or "", rule.match):
                return rule
        return None
