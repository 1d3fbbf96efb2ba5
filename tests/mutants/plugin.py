"""What pytest does in a copy of the project, by what its environment says.

`MUTANTS_MAP`, a folder: write there which test runs which line, and how long each took.
`MUTANTS_TESTS`, a file: run these tests alone, in this order, each within its time.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import coverage
import pytest
from hypothesis import Phase, settings

from tests.mutants.packages import PURE

_MAP = os.environ.get("MUTANTS_MAP", "")
_TESTS = os.environ.get("MUTANTS_TESTS", "")
#: Bytes of addresses: a change can make a loop that keeps what it makes.
_MEMORY = 8 * 2**30
#: Seconds of the processor: a test may take this, and that many times what it took.
_GRACE, _TIMES = 3.0, 10.0

# The same examples each time, and none made smaller: that it failed is all that counts. Few for the map:
# those with which a test begins tell where it comes.
settings.register_profile(
    "mutants",
    derandomize=True,
    deadline=None,
    max_examples=10 if _MAP else 100,
    phases=(Phase.explicit, Phase.generate),
    database=None,
)


class _Mapped:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seconds: dict[str, float] = {}
        self._coverage = coverage.Coverage(
            str(folder / f"coverage-{os.getpid()}"),
            config_file=False,
            source=[f"sidecar/{package}" for package in PURE],
        )
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        self._coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self._coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0) + report.duration

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        self._coverage.save()
        (self._folder / f"seconds-{os.getpid()}.json").write_text(json.dumps(self._seconds))


class _Chosen:
    def __init__(self, file: Path) -> None:
        self._seconds: dict[str, float] = json.loads(file.read_text())
        self._place = {test: at for at, test in enumerate(self._seconds)}
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        # By the time of the process, which does not depend on what else the machine does. Nothing catches it.
        signal.signal(signal.SIGPROF, lambda *_: os._exit(1))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._place]
        items.sort(key=lambda item: self._place[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        signal.setitimer(signal.ITIMER_PROF, _GRACE + _TIMES * self._seconds[item.nodeid])
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


# When it is imported, and not when pytest is configured: what the tests import runs lines too.
_ours = _Mapped(Path(_MAP)) if _MAP else _Chosen(Path(_TESTS)) if _TESTS else None


def pytest_configure(config: pytest.Config) -> None:
    if _ours is not None:
        config.pluginmanager.register(_ours, "mutants")
