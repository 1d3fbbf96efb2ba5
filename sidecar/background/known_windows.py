"""The windows that each credential was told, with bounds.

Rule: what one key's list of models or refusal tells counts for that key alone. Two keys of one gateway may
have different models under one name, and nobody's list or error may cut another's chats. Lists that are
alike are held once, since most are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from sidecar.prompt.model_lists import Window

__all__ = ["KnownWindows"]

_MAX_NAME_LENGTH = 256  # characters; a longer one is no model's
_MAX_LEARNED = 1000  # pairs of key and model
_MAX_LISTS = 4096  # keys
_MAX_LISTS_SIZE = 8 << 20  # bytes of lists
_FOR_A_MODEL = 120  # bytes of one beside its name


class _Told(msgspec.Struct):
    asked_at: float
    windows: Mapping[str, Window] = {}


class KnownWindows:
    """By keyed hashes of credentials. The keys used longest ago are forgotten first."""

    def __init__(self) -> None:
        self._lists: OrderedDict[bytes, _Told] = OrderedDict()
        self._learned: OrderedDict[tuple[bytes, str], tuple[int, float]] = OrderedDict()
        self._cut: OrderedDict[tuple[bytes, str], tuple[int, float]] = OrderedDict()

    def listed(self, credential: bytes) -> Mapping[str, Window]:
        """What the list of models told this key; empty if nothing has."""
        told = self._lists.get(credential)
        return told.windows if told is not None else {}

    def asked_at(self, credential: bytes) -> float | None:
        """When this key's list was last asked for."""
        told = self._lists.get(credential)
        return told.asked_at if told is not None else None

    def asking(self, credential: bytes, now: float) -> None:
        """This key's list is being asked for; what it told before counts until it has told again."""
        self._lists[credential] = _Told(now, self.listed(credential))
        self._lists.move_to_end(credential)
        while len(self._lists) > _MAX_LISTS:
            self._lists.popitem(last=False)

    def hold(self, credential: bytes, windows: Mapping[str, Window]) -> None:
        """A list has told this."""
        if (told := self._lists.get(credential)) is None:  # forgotten meanwhile
            return
        told.windows = next((each for each in self._distinct() if each == windows), windows)
        while len(self._lists) > 1 and sum(map(_size, self._distinct())) > _MAX_LISTS_SIZE:
            self._lists.popitem(last=False)

    def learned(self, credential: bytes, model: str) -> tuple[int, float] | None:
        """What a refusal told this key of the model, and when."""
        return self._learned.get((credential, model))

    def learn(self, credential: bytes, model: str, window: int, now: float) -> None:
        """A refusal has told this."""
        _hold(self._learned, credential, model, window, now)

    def cut(self, credential: bytes, model: str) -> tuple[int, float] | None:
        """What the upstream counted of a longer prompt of this key, and when."""
        return self._cut.get((credential, model))

    def cut_silently(self, credential: bytes, model: str, counted: int | None, now: float) -> None:
        """The upstream seems to have cut a prompt to so many tokens; None: it does so no more."""
        if counted is None:
            self._cut.pop((credential, model), None)
        else:
            _hold(self._cut, credential, model, counted, now)

    def _distinct(self) -> list[Mapping[str, Window]]:
        return list({id(each.windows): each.windows for each in self._lists.values()}.values())


def _hold(
    learned: OrderedDict[tuple[bytes, str], tuple[int, float]],
    credential: bytes,
    model: str,
    tokens: int,
    now: float,
) -> None:
    if len(model) > _MAX_NAME_LENGTH:
        return
    learned[credential, model] = (tokens, now)
    learned.move_to_end((credential, model))
    while len(learned) > _MAX_LEARNED:
        learned.popitem(last=False)


def _size(windows: Mapping[str, Window]) -> int:
    return sum(map(len, windows)) + _FOR_A_MODEL * len(windows)
