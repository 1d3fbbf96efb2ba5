"""An upstream that cuts prompts without saying so: it is said for it.

Rules: what an upstream counted is known when a reply has ended, and so the next response that it is true of
says it, in a header, with the cure; nothing is said any more once a larger count has come that is near the
estimate. An exchange of which the header said so is marked as cut unless its count shows otherwise. The next
prompts are fitted to what was counted only where the operator wants that: a count may be wrong.

A prompt that goes on from one before it has at least the tokens of that. This sign needs no estimate, and is
looked at where nothing else makes the count smaller: templates leave reasoning of earlier turns out, some
servers old images, and a choice of no tool the tools.
"""

from __future__ import annotations

from sidecar.conversation.message import read
from sidecar.conversation.reasoning import has_reasoning, may_reason
from sidecar.exchange.call import ChatCall
from sidecar.exchange.outcome import Counted, Progress
from sidecar.exchange.prompt import Prompt, Sendable
from sidecar.prompt.model_lists import SMALLEST_WINDOW
from sidecar.prompt.silent_truncation import has_shrunk, is_cut_again
from sidecar.proxy.services import Services

__all__ = ["counted", "foreseen"]


def counted(
    services: Services, call: ChatCall, progress: Progress, tokens: int | None, answered_by: str | None
) -> tuple[int | None, bool]:
    """A reply has told how many tokens its prompt had: those by the estimate, as far as that was made, and
    whether it seems to have been cut."""
    chat, prompt, calibration = call.chat, progress.prompt, services.background.calibration
    windows, credential = services.background.windows, call.identity.credential
    estimated, is_cut = calibration.look(chat, prompt, tokens)
    if not tokens:
        return estimated, is_cut
    found = windows.silent_cut(chat.model, credential)
    least = _least(progress, answered_by)
    by_estimate = calibration.estimate(chat, prompt) if found is not None else (0, 0)
    if found is not None and estimated is None:
        estimated = by_estimate[0]
    if not is_cut and (
        (found is not None and is_cut_again(found, *by_estimate, tokens))
        or (has_shrunk(least, tokens) and not chat.tools and all(map(_is_plain, prompt.sent)))
    ):
        is_cut = progress.is_cut_beyond_calibration = True
        services.metrics.silently_cut.inc()
    progress.counted = Counted(progress.target, answered_by, max(tokens, least))
    held = max(tokens, least if has_shrunk(least, tokens) else 0)
    if is_cut:
        windows.cut_silently(chat.model, credential, max(held, found or 0))
        services.requests.samples.cut_silently(chat.model, tokens, estimated, progress.when)
        if services.settings.trim.on_silent_cut == "trim" and held >= SMALLEST_WINDOW:
            windows.learn(chat.model, credential, held)
    elif found is not None and tokens > found:
        windows.cut_silently(chat.model, credential, None)
        services.requests.samples.cut_silently(chat.model, None, None, progress.when)
    return estimated, is_cut


def _least(progress: Progress, answered_by: str | None) -> int:
    """The tokens that its prompt has at least, since one that it goes on from was counted so."""
    before = progress.counted_before
    if before is None or (before.target, before.model) != (progress.target, answered_by):
        return 0
    return before.tokens


def _is_plain(each: Sendable) -> bool:
    """Does it count the same in every prompt?"""
    if each.measure.images:
        return False
    return not (may_reason(each.raw) and has_reasoning(read(each.raw)))


def foreseen(services: Services, call: ChatCall, prompt: Prompt) -> str:
    """What to say of a prompt that the upstream is likely to cut, for it cut another; else nothing."""
    known = services.background.windows.silent_cut(call.chat.model, call.identity.credential)
    if known is None:
        return ""
    estimated, least = services.background.calibration.estimate(call.chat, prompt)
    if least <= known:
        return ""
    return (
        f"the upstream counted {known} of some {estimated} tokens; give it a longer context (Ollama:"
        " OLLAMA_CONTEXT_LENGTH) or set trim.on_silent_cut to trim"
    )
