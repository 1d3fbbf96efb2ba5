"""A copy of the project, and which tests run which lines of the pure packages in it.

In a copy, so that nobody's work is changed; and what is edited meanwhile changes nothing here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from coverage import CoverageData

from tests.mutants.changes import Mutant
from tests.mutants.packages import PURE

ROOT = Path(__file__).parents[2]
#: Their own tests alone: what others see by chance is not theirs.
_TESTS = tuple(f"tests/{package}" for package in PURE)
_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.plugin")
#: A constant can be made of another one, and that of a third.
_FARTHEST = 3


class Copy:
    """A folder with a copy of the project's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_project(cls, folder: Path) -> Copy:
        """Make the copy."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in listed.stdout.split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / name)
        return cls(folder)

    def pytest(
        self, arguments: Iterable[str], settings: dict[str, str], limit: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run pytest in the copy, for at most `limit` seconds. Raise TimeoutExpired."""
        return subprocess.run(
            [sys.executable, *_PYTEST, "--hypothesis-profile=mutants", *arguments],
            cwd=self.folder,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )

    def map(self, workers: int) -> Map:
        """Run all tests of the pure packages once. Raise SystemExit where one fails."""
        into = self.folder / "mutants-map"
        into.mkdir()
        done = self.pytest([f"-n{workers}", *_TESTS], {"MUTANTS_MAP": str(into)})
        if done.returncode:
            said = f"{done.stdout[-3000:]}{done.stderr[-2000:]}"
            sys.exit(f"./dev mutants: the tests fail without any change:\n{said}")
        return Map(self.folder, into)


class Map:
    """Which tests run which line, and what each takes."""

    def __init__(self, folder: Path, into: Path) -> None:
        self._folder = folder
        #: Seconds by test.
        self.seconds: dict[str, float] = {}
        #: Of each file the tests of each line.
        self._tests: dict[str, dict[int, set[str]]] = {}
        for file in into.glob("*.json"):
            self.seconds |= json.loads(file.read_text())
        for file in into.glob("coverage*"):
            data = CoverageData(str(file))
            data.read()
            for name in data.measured_files():
                own = self._tests.setdefault(str(Path(name).relative_to(folder.resolve())), {})
                for line, tests in data.contexts_by_lineno(name).items():
                    own.setdefault(line, set()).update(each for each in tests if each)
            data.close()

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that could see this change, the quickest first."""
        found: set[str] = set()
        if mutant.bound:
            found = self._of_names(mutant.file, mutant.bound, set())
        else:
            found = self._of_lines(mutant.file, mutant.lines)
        found = found or self._of_lines(mutant.file, self._tests.get(mutant.file, ()))
        return sorted(found, key=lambda test: (self.seconds.get(test, 0), test))

    def _of_lines(self, file: str, lines: Iterable[int]) -> set[str]:
        of_file = self._tests.get(file, {})
        return set().union(*(of_file.get(line, ()) for line in lines))

    def _of_names(self, file: str, names: tuple[str, ...], seen: set[tuple[str, str]]) -> set[str]:
        """The tests of the lines where what is bound outside of functions is used."""
        found: set[str] = set()
        for name in names:
            if (file, name) in seen or len(seen) > 100:
                continue
            seen.add((file, name))
            found |= self._that_name(name)
            for where, line in self._uses(file, name):
                found |= self._of_lines(where, (line,))
                if self._is_import_time(where, line) and len(seen) <= _FARTHEST:
                    for other in re.findall(r"^(?:class |def )?(\w+)", self._texts[where][line - 1]):
                        found |= self._of_names(where, (other,), seen)
        return found

    def _that_name(self, name: str) -> set[str]:
        """The tests in whose files it stands: a constant that is compared runs no line."""
        word = re.compile(rf"\b{name}\b")
        files = {file for file, text in self._test_texts.items() if word.search(text)}
        return {test for test in self.seconds if test.partition("::")[0] in files}

    def _uses(self, file: str, name: str) -> Iterator[tuple[str, int]]:
        word = re.compile(rf"\b{name}\b")
        for where, lines in self._texts.items():
            if where != file and name.startswith("_"):
                continue
            for at, line in enumerate(lines, 1):
                if word.search(line):
                    yield where, at

    def _is_import_time(self, file: str, line: int) -> bool:
        return not self._tests.get(file, {}).get(line)

    @cached_property
    def _test_texts(self) -> dict[str, str]:
        files = {test.partition("::")[0] for test in self.seconds}
        return {file: (self._folder / file).read_text("utf-8") for file in files}

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        packages = (self._folder / "sidecar" / package for package in PURE)
        files = [file for package in packages for file in sorted(package.rglob("*.py"))]
        return {str(file.relative_to(self._folder)): file.read_text("utf-8").splitlines() for file in files}
