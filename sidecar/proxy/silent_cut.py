"""An upstream that cuts prompts without saying so: it is said for it.

Rules: what an upstream counted is known when a reply has ended, and so the next response that it is true of
says it, in a header, with the cure; nothing is said any more once a larger count has come. The next prompts
are fitted to what was counted only where the operator wants that: a count may be wrong.
"""

from __future__ import annotations

from sidecar.exchange.call import ChatCall
from sidecar.exchange.prompt import Prompt
from sidecar.prompt.model_lists import SMALLEST_WINDOW
from sidecar.proxy.services import Services

__all__ = ["counted", "foreseen"]


def counted(services: Services, call: ChatCall, tokens: int | None, *, is_cut: bool) -> None:
    """A reply has told how many tokens its prompt had, and whether it seems to have been cut."""
    if not tokens:
        return
    model, credential = call.chat.model, call.identity.credential
    if is_cut:
        services.background.windows.cut_silently(model, credential, tokens)
        if services.settings.trim.on_silent_cut == "trim" and tokens >= SMALLEST_WINDOW:
            services.background.windows.learn(model, credential, tokens)
    elif (known := services.background.windows.silent_cut(model, credential)) is not None and tokens > known:
        services.background.windows.cut_silently(model, credential, None)


def foreseen(services: Services, call: ChatCall, prompt: Prompt) -> str:
    """What to say of a prompt that the upstream is likely to cut, for it cut another; else nothing."""
    known = services.background.windows.silent_cut(call.chat.model, call.identity.credential)
    if known is None:
        return ""
    estimated = services.background.calibration.estimate(call.chat, prompt)
    if estimated <= known:
        return ""
    return (
        f"the upstream counted {known} of some {estimated} tokens; give it a longer context (Ollama:"
        " OLLAMA_CONTEXT_LENGTH) or set trim.on_silent_cut to trim"
    )
