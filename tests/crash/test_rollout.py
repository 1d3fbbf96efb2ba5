"""A new version takes the place of the old one, and nobody who chats notices."""

from __future__ import annotations

import pytest

from tests.crash.rollout import roll_out

# What is tested runs in processes of its own, which the coverage does not see.
pytestmark = pytest.mark.no_cover


@pytest.mark.parametrize("keeps_connections", [False, True])
async def test_no_stream_breaks_off_and_no_request_is_refused_while_every_sidecar_is_replaced(
    server, tmp_path, keeps_connections: bool
):
    store = server.url(await server.database())

    summary = await roll_out(
        store,
        tmp_path,
        replicas=1,
        clients=6,
        pause=0.01,
        out_of_service=0.1,
        keeps_connections=keeps_connections,
    )

    assert summary.failed == []
    assert summary.sent_again == 0
    assert summary.faults == []
    assert summary.exit_codes == [0]
    assert summary.running > 0
