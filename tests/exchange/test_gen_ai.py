from __future__ import annotations

import pytest

from sidecar.conversation.records import Exchange
from sidecar.exchange.gen_ai import error_type


@pytest.mark.parametrize(
    ("status", "error", "type"),
    [
        (200, None, ""),
        (None, None, ""),
        (429, "rate_limit_exceeded", "429"),
        (502, None, "502"),
        (418, "teapot", "_OTHER"),
        (200, "client_left", "client_left"),
        (None, "client_left", "client_left"),
        (200, "upstream_broke_off", "upstream_broke_off"),
        (200, "whatever an upstream says", "_OTHER"),
    ],
)
def test_the_type_of_an_error_is_one_of_a_few(status, error, type):
    assert error_type(Exchange(b"", "", status=status, error=error)) == type
