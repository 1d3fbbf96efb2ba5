"""Each name of aiohttp's own that the sidecar overrides is there, and is called where requests are served."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from sidecar.aiohttp_internals import ClientConnection, Connector

OVERRIDES = [
    (ClientConnection, ResponseHandler, "set_response_params"),
    (ClientConnection, ResponseHandler, "_reschedule_timeout"),
    (ClientConnection, ResponseHandler, "_on_read_timeout"),
    (Connector, aiohttp.TCPConnector, "_get"),
]


@pytest.mark.parametrize(("ours", "theirs", "name"), OVERRIDES)
def test_what_is_overridden_is_a_method_of_the_library(ours: type, theirs: type, name: str):
    assert callable(getattr(theirs, name))
    assert getattr(ours, name) is not getattr(theirs, name)
