"""The program of the guide deletes old chats of everybody, and no others."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.openwebui.conftest import House
from tests.e2e.openwebui.server import Account
from tests.guides import delete_old_chats

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: More than Open WebUI puts into one page.
OLD = 70


async def made(account: Account, *ages: float) -> list[str]:
    """Chats of this user that were last changed so many days ago."""
    chats = [_chat(int(time.time() - age * 86_400)) for age in ages]
    said = await account.post("/api/v1/chats/import", {"chats": chats})
    return [each["id"] for each in said]


def _chat(at: int) -> dict[str, Any]:
    id = str(uuid.uuid4())
    tree: dict[str, Any] = {"parentId": None, "childrenIds": []}
    message = {"id": id, **tree, "role": "user", "content": "hi", "timestamp": at}
    chat = {"title": "old", "models": ["m"], "history": {"currentId": id, "messages": {id: message}}}
    return {"chat": chat, "created_at": at, "updated_at": at}


async def left(account: Account, ids: list[str]) -> list[str]:
    found = []
    for page in range(1, 4):
        found += [each["id"] for each in await account.get(f"/api/v1/chats/?page={page}")]
    return [id for id in ids if id in found]


async def test_of_every_user_the_old_chats_are_deleted(house: House, tmp_path: Path):
    admin = await house.admin()
    user = await house.api.user(admin, "Old")
    old, new = await made(user, *([4000.0] * OLD)), await made(user, 3000.0, 0.0)
    own = await made(admin, 4000.0)
    said = await delete_old_chats(tmp_path, house.url, admin.token, "3650")
    assert {f"old@example.com: {OLD} chats deleted", "admin@example.com: 1 chats deleted"} <= {*said}
    assert await left(user, [*old, *new]) == new
    assert await left(admin, own) == []
