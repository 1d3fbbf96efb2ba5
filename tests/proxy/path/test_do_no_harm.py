"""Random clients against random upstreams: what goes upstream is never worse than what the client sent."""

from __future__ import annotations

import pytest

from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream
from tests.referee.harm import SESSION, harm


@pytest.mark.parametrize("seed", range(6))
async def test_what_the_referee_takes_of_a_client_it_takes_of_the_sidecar(
    start: Start, upstream: Upstream, seed: int
):
    sidecar = await start(session={"headers": [SESSION]})
    found, compared = await harm(sidecar, upstream, seed, 60)
    assert found == []
    assert compared > 20
