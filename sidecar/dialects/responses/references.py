"""References to items, and the items in their place.

Rule: what a client refers to stands in its request as if it had sent it. All that is done to a request is
done to that, and nobody behind this knows of references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.conversation.exchange_record import Reference
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.refusal import refused, shown, text_in
from sidecar.errors import NotFound

__all__ = ["UnknownItems", "filled", "refuse_references"]


Item = dict[str, Any]


class UnknownItems(NotFound):
    """Items that have to be looked up. `behind`, `conversation`: where the request goes on, if it says so."""

    code = "item_not_found"

    def __init__(self, ids: Sequence[str], behind: Reference | None, conversation: str | None) -> None:
        super().__init__(
            f"Item with id {shown(ids[0])} not found: it was not kept, was deleted, or never was."
            " With `store: false` send the item itself.",
            param="input",
        )
        self.ids, self.behind, self.of_conversation = ids, behind, conversation


def refuse_references(items: list[Item], behind: Reference | None, conversation: str | None) -> None:
    """Raises `UnknownItems` if there is a reference among them, `BadRequest` if that is to nothing or to the
    item of another one."""
    ids: dict[str, None] = {}
    for at, item in enumerate(items):
        if is_reference(item):
            id = text_in(item, "id", f"input[{at}]")
            if not id:
                raise refused("a reference needs the `id` of an item", f"input[{at}].id", "invalid_value")
            if id in ids:
                raise refused(f"Duplicate item found with id {shown(id)}.", "input", "invalid_value")
            ids[id] = None
    if ids:
        raise UnknownItems(list(ids), behind, conversation)


def filled(data: bytes, found: Mapping[str, Item]) -> bytes:
    """The body of a request with these items in place of the references to them."""
    body: dict[str, Any] = loads(data)
    body["input"] = [found.get(item["id"], item) if is_reference(item) else item for item in body["input"]]
    return encode(body)


def is_reference(item: Item) -> bool:
    """Is it one? The type may be left out."""
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "role" not in item)
