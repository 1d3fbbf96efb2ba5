"""The upstream and the sidecars of the tests of the proxy."""

from tests.proxy.conftest import sidecar, start, upstream

__all__ = ["sidecar", "start", "upstream"]
