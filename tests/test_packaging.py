"""What is pinned can be installed, by an old pip and next year as well, and what is built is complete."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import aiohttp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sidecar import cli
from sidecar.settings import load
from sidecar.settings.sections import Timeouts
from tests import audit, package
from tests.locks import ROOT, pins, unpinned_extras, version_of
from tests.proxy.process import clean_environment, started

LOCKS = {path.name: pins(path.read_text()) for path in sorted(ROOT.glob("requirements*.txt"))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Each is checked where it is installed: these two by `./dev e2e` and by `./dev audit`.
ELSEWHERE = {"requirements-audit.txt", "requirements-e2e.txt"}

each_lock = pytest.mark.parametrize("lock", LOCKS)


def declared():
    """Every requirement of pyproject.toml."""
    project = PROJECT["project"]
    lists = [
        PROJECT["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    return [Requirement(each) for listed in lists for each in listed]


def package_files():
    """All of the package but its code."""
    files = [path for path in (ROOT / "sidecar").rglob("*") if path.is_file()]
    return {str(path.relative_to(ROOT)) for path in files if path.suffix not in {".py", ".pyc"}}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist, made with the pinned build back end and without a network."""
    folder = tmp_path_factory.mktemp("built")
    build = (sys.executable, "-m", "hatchling", "build", "--directory", str(folder))
    both = ("--target", "wheel", "--target", "sdist")
    subprocess.run([*build, *both], cwd=ROOT, env=clean_environment(), check=True)
    return folder


@each_lock
def test_every_extra_that_a_pinned_package_asks_for_is_pinned(lock):
    faults, unknown = unpinned_extras(LOCKS[lock])
    assert faults == []
    # What is meant for other machines alone cannot be looked at here.
    here = {pin.name for pin in LOCKS[lock].values() if not (m := pin.requirement.marker) or m.evaluate()}
    assert lock in ELSEWHERE or not unknown & here


@pytest.mark.parametrize("spelling", ["coverage", "coverage[other]"])
def test_a_pin_without_the_extra_that_is_asked_for_is_found(spelling):
    text = (ROOT / "requirements-dev.txt").read_text().replace("coverage[toml]", spelling)
    assert unpinned_extras(pins(text))[0] == ["pytest-cov asks for coverage[toml]: pin it with these"]


def test_an_extra_is_known_in_any_spelling():
    text = (ROOT / "requirements-dev.txt").read_text().replace("coverage[toml]", "Coverage[TOML]")
    assert unpinned_extras(pins(text))[0] == []


@each_lock
def test_every_line_of_a_lock_is_one_release_and_its_hashes(lock):
    for pin in LOCKS[lock].values():
        assert [each.operator for each in pin.requirement.specifier] == ["=="], pin
        assert pin.requirement.url is None
        assert pin.options
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", option) for option in pin.options), pin


@each_lock
def test_a_lock_names_no_place_to_install_from(lock):
    text = (ROOT / lock).read_text()
    assert not re.search(r"://| @ |index|find-links|trusted-host", re.sub(r"#.*", "", text))


@each_lock
def test_all_locks_hold_the_same_release_of_a_package(lock):
    tested = LOCKS["requirements-dev.txt"]
    other = {name: pin for name, pin in LOCKS[lock].items() if name in tested}
    assert {name: version_of(pin) for name, pin in other.items()} == {
        name: version_of(tested[name]) for name in other
    }


def test_no_floor_is_above_what_is_pinned():
    for requirement in declared():
        held = [
            lock[canonicalize_name(requirement.name)] for lock in LOCKS.values() if requirement.name in lock
        ]
        assert held, requirement
        assert all(requirement.specifier.contains(version_of(pin)) for pin in held), requirement


def test_the_python_of_the_image_is_one_of_those_that_are_named():
    (image,) = set(re.findall(r"^FROM python:([\d.]+)-slim", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert f"Programming Language :: Python :: {image}" in PROJECT["project"]["classifiers"]


def test_the_systems_that_are_named_are_those_that_it_runs_on():
    named = {each for each in PROJECT["project"]["classifiers"] if each.startswith("Operating System")}
    assert named == {"Operating System :: POSIX :: Linux"}
    assert PROJECT["project"]["scripts"] == {"sidecar": "sidecar.__main__:main"}  # which refuses the others


def test_the_image_needs_no_privileges_and_no_other_program():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["10001:10001"]
    assert re.findall(r"^VOLUME (.*)$", dockerfile, re.MULTILINE) == ["/data"]
    assert package.check_of_the_image()[:2] == ["python", "-c"]
    assert not re.search(r"apt|curl|wget", dockerfile)


def test_the_service_is_started_as_the_command_line_wants_it_and_may_write_to_its_own_folder_alone():
    unit = (ROOT / "config" / "conversation-sidecar.service").read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    _, *arguments = settings["ExecStart"].split()
    started = vars(cli._parser().parse_args(arguments))
    assert started["config"] == "%d/sidecar.toml"
    name, store = settings["Environment"].split("=")
    assert load({}, {name: store.replace("%S", "/var/lib")}).store.endswith(
        ":////var/lib/conversation-sidecar/sidecar.db"
    )
    assert (settings["StateDirectory"], settings["ProtectSystem"]) == ("conversation-sidecar", "strict")
    # The first process tells its workers to end; to be told twice would end them at once.
    assert settings["KillMode"] == "mixed"
    assert float(settings["TimeoutStopSec"]) > Timeouts().shutdown + Timeouts().store


def test_the_service_and_the_guide_install_it_with_the_same_commands():
    unit = (ROOT / "config" / "conversation-sidecar.service").read_text()
    guide = (ROOT / "config" / "guides" / "operations.md").read_text().splitlines()
    told = [line.removeprefix("#   ").split("    # ")[0] for line in unit.splitlines() if line[:4] == "#   "]
    assert len(told) > 8
    given = {line.split("    # ")[0].rstrip() for line in guide}
    assert [line for line in told if line.rstrip() not in given] == []


def test_what_is_built_is_the_same_from_another_folder_by_another_user(built, tmp_path):
    before = os.umask(0o077)
    try:
        source = package.copied(tmp_path / "source")
        again = package.sdist_and_wheel(source, tmp_path / "again", TZ="Asia/Tokyo")
    finally:
        os.umask(before)
    assert {file.name: file.read_bytes() for file in again} == {
        file.name: file.read_bytes() for file in built.iterdir()
    }


def test_links_of_the_readme_lead_somewhere_outside_of_the_repository(tmp_path):
    (tmp_path / "sidecar").mkdir()
    for name in ("README.md", "pyproject.toml", "sidecar/__init__.py"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    package.with_address(tmp_path, "https://example.org/sidecar")
    links = re.findall(r"\]\(([^)]+)\)", (tmp_path / "README.md").read_text())
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    urls = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Homepage"] == "https://example.org/sidecar"


def test_a_wheel_has_every_file_of_the_package(built):
    (wheel,) = built.glob("*.whl")
    assert package_files() <= set(zipfile.ZipFile(wheel).namelist())
    assert "sidecar/py.typed" in package_files()


def test_an_sdist_has_every_file_of_the_package_and_what_it_is_built_with(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert package_files() | {"pyproject.toml", "README.md", "LICENSE", "sidecar/cli.py"} <= names


async def test_what_is_in_the_wheel_serves(built, tmp_path: Path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    # Isolated from this folder, so that the code is that of the wheel.
    place = f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r})"
    code = f"{place}; from sidecar.cli import main; main()"
    async with started((sys.executable, "-I", "-c", code), folder=tmp_path) as process:
        body = {"model": "demo", "messages": [{"role": "user", "content": "Hello."}]}
        headers = {"X-Conversation-ID": "first"}
        url = f"{process.url}/v1/chat/completions"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=body, headers=headers) as response,
        ):
            assert response.status == 200
            assert response.headers["X-Sidecar-Outcome"]
        port = process.url.rpartition(":")[2]
        program, *arguments = (each.replace("8790", port) for each in package.check_of_the_image())
        assert program == "python"
        check = await asyncio.create_subprocess_exec(sys.executable, *arguments)
        assert await check.wait() == 0
    assert (tmp_path / "sidecar.db").exists()


def report(*dependencies):
    return {"dependencies": list(dependencies), "fixes": []}


def test_an_audit_in_which_every_pin_was_looked_up_has_no_faults():
    sound = {"name": "a", "version": "1", "vulns": []}
    assert audit.faults(report(sound), {"a": "1"}) == []


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ({"name": "a", "skip_reason": "not found"}, "a 1 was not audited: not found"),
        ({"name": "a", "version": "2", "vulns": []}, "a 1 was not audited: it is not in the report"),
        ({"name": "b", "version": "1", "vulns": []}, "a 1 was not audited: it is not in the report"),
        (
            {"name": "a", "version": "1", "vulns": [{"id": "GHSA-1", "fix_versions": ["2", "3"]}]},
            "a 1 is affected: GHSA-1 (fixed in 2 or 3)",
        ),
        (
            {"name": "a", "version": "1", "vulns": [{"id": "GHSA-1", "fix_versions": []}]},
            "a 1 is affected: GHSA-1 (fixed in no release)",
        ),
    ],
)
def test_an_audit_fails_for_what_is_affected_and_for_what_was_not_looked_up(found, fault):
    assert audit.faults(report(found), {"a": "1"}) == [fault]
