"""What tests of all parts need: the process as it was, and two PostgreSQL servers for the whole run, each
started by the first test that needs it."""

from __future__ import annotations

import gc
import logging
import os

import pytest
from hypothesis import HealthCheck, settings

from sidecar.logs import EXCHANGES
from tests.store.postgres import Server

# How fast the machine is proves nothing: no example fails for having taken long.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
# For `./dev fuzz`: other examples with every seed, in continuous integration too.
settings.register_profile("fuzz", derandomize=False, database=None, deadline=None)


# The files that take longest, the longest first. They are started first: with one of them last, one worker
# would run on alone for as long as it takes.
_LONG = (
    "proxy/path/test_isolation.py",
    "proxy/faults/test_disk_faults.py",
    "crash/test_kill9.py",
    "proxy/path/test_overflow_retry.py",
    "proxy/server/test_ceilings.py",
    "proxy/server/test_slow_clients.py",
    "proxy/path/test_summary.py",
    "commands/test_import_hostile.py",
    "crash/test_replicas.py",
    "proxy/path/test_large.py",
    "proxy/server/test_workers.py",
    "guard/test_growth.py",
    "proxy/server/test_doctor.py",
    "proxy/server/test_shutdown.py",
    "proxy/faults/test_postgres.py",
    "store/test_twins.py",
)


def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: one more than there are cores, since tests wait for servers, disks and clocks for nearly
    half of their time."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; all others stay in their order.

    What random input happens to reach does not count as covered: the coverage is that of exact tests, and
    the tracer, with which every bytecode costs a multiple, leaves the others alone.
    """
    place = {f"tests/{file}": at for at, file in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")


def pytest_collection_finish() -> None:
    """All that was imported stays; to look through it again and again takes a seventh of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, *gc.get_threshold()[1:])


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Whoever calls the command line sets the logging of the whole process."""
    root, ours = logging.getLogger(), [logging.getLogger(name) for name in ("sidecar", EXCHANGES)]
    handlers, levels = list(root.handlers), [each.level for each in ours]
    yield
    root.handlers[:] = handlers
    for each, level in zip(ours, levels, strict=True):
        each.setLevel(level)


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch):
    """No setting of the machine's own."""
    for name in [name for name in os.environ if name.startswith("SIDECAR_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server():
    server = Server()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def killed_at_times():
    server = Server()
    server.start()
    yield server
    server.close()


@pytest.fixture
def mortal_server(killed_at_times: Server):
    """Another server, which a test may kill."""
    yield killed_at_times
    if not killed_at_times.is_running:
        killed_at_times.start()


@pytest.fixture
async def postgres_url(server: Server):
    """The URL of a store in PostgreSQL that holds nothing."""
    return await server.store_url()
