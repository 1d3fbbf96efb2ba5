"""`./dev package [--url URL]`: what is released, and whether a stranger could use it.

Builds the wheel and the sdist into `dist/`, twice and from different places, and compares their bytes. Then
each check prints what it saw; what this machine lacks is said as NOT TRIED. Exit code 1 where one fails.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.e2e.install import python_packages
from tests.guides import blocks
from tests.locks import ROOT

__all__ = ["check_of_the_image", "copied", "main", "sdist_and_wheel", "with_address"]

#: Bytes of `python:3.12-slim` for amd64, unpacked, as `docker images` shows it, rounded up.
_BASE = 130 * 10**6
_LARGEST = 250 * 10**6
_USER = 10001
_PYTHONS = ("3.11", "3.12", "3.13")
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s]+)(?=\))")
_IMAGE = re.compile(r"(!\[[^\]]*\]\()(?![a-z]+:)([^)\s]+)(?=\))")


class Missing(Exception):
    """What a check needs and this machine does not have."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev package", description="Build what is released, and check it."
    )
    parser.add_argument("--url", help="where the project is: for `project.urls` and the links of the README")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="default: %(default)s")
    options = parser.parse_args(arguments)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sidecar-package-") as folder:
        work = Path(folder)
        # Readable by the user that the image runs as.
        work.chmod(0o755)
        built = work / "built"
        checks: list[tuple[str, Callable[[], Iterator[str]]]] = [
            ("build", lambda: _built_twice(work, built, options.url)),
            ("twine", lambda: _described(built)),
            ("pins", _pins_for_another_system),
            ("image", lambda: _image(work, built)),
            ("systemd", lambda: _unit(work)),
            ("systemd, Open WebUI", lambda: _unit_of_open_webui(work)),
        ]
        for name, check in checks:
            try:
                for line in check():
                    print(f"{name:8} {line}", flush=True)
            except Missing as missing:
                print(f"{name:8} NOT TRIED: {missing}", flush=True)
            except (AssertionError, subprocess.CalledProcessError) as error:
                failed += 1
                said = getattr(error, "stdout", "") or ""
                print(f"{name:8} FAILED: {error}\n{said[-3000:]}", flush=True)
        options.into.mkdir(parents=True, exist_ok=True)
        for file in built.glob("*") if not failed else ():
            shutil.copy(file, options.into)
            print(f"{file.stat().st_size:>8,} bytes  {options.into / file.name}")
    return 1 if failed else 0


def copied(to: Path) -> Path:
    """The files of the repository, without anything that only lies in this folder."""
    listed = _run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)
    return to


def sdist_and_wheel(source: Path, into: Path, **environment: str) -> list[Path]:
    """Both, built from the folder `source` with the pinned build back end; the sdist first."""
    build = (sys.executable, "-m", "hatchling", "build", "--directory", str(into))
    _run(*build, "--target", "wheel", "--target", "sdist", cwd=source, **environment)
    return sorted(into.iterdir(), key=lambda file: file.suffix != ".gz")


def with_address(source: Path, url: str) -> None:
    """Tell in this copy where the project is, so that links of the README lead somewhere."""
    text = (source / "sidecar" / "__init__.py").read_text()
    version = re.search(r'__version__ = "(.+)"', text)
    assert version is not None
    at = f"{url}/blob/v{version[1]}"
    urls = {"Homepage": url, "Documentation": f"{at}/README.md", "Changelog": f"{at}/CHANGELOG.md"}
    project = source / "pyproject.toml"
    lines = "".join(f'{name} = "{each}"\n' for name, each in urls.items())
    project.write_text(f"{project.read_text()}\n[project.urls]\n{lines}")
    readme = source / "README.md"
    shown = _IMAGE.sub(rf"\1{url}/raw/v{version[1]}/\2", readme.read_text())
    readme.write_text(_LINK.sub(rf"{at}/\1", shown))


def _built_twice(work: Path, built: Path, url: str | None) -> Iterator[str]:
    made = []
    for name, umask, zone in (("one", 0o022, "UTC"), ("another", 0o077, "Asia/Tokyo")):
        before = os.umask(umask)
        try:
            source = copied(work / name / "source")
            if url:
                with_address(source, url.rstrip("/"))
            made.append(sdist_and_wheel(source, work / name / "dist", TZ=zone))
        finally:
            os.umask(before)
    for first, second in zip(*made, strict=True):
        assert first.name == second.name
        assert filecmp.cmp(first, second, shallow=False), (
            f"{first.name} has other bytes when it is built again"
        )
    built.mkdir()
    for file in made[0]:
        shutil.copy(file, built)
    yield f"{' and '.join(file.name for file in made[0])}: the same bytes from two folders"


def _described(built: Path) -> Iterator[str]:
    tools = python_packages("twine", ("twine>=6",))
    told = _run(str(tools / "twine"), "check", "--strict", *(str(file) for file in built.iterdir()))
    assert told.count("PASSED") == 2, told
    yield "takes both, in its strict mode"


def _pins_for_another_system() -> Iterator[str]:
    """By resolving them, hashes and all, from wheels alone: nothing has to be compiled."""
    locks = [f"--requirement={lock}" for lock in sorted(ROOT.glob("requirements*.txt"))]
    for python in _PYTHONS:
        with tempfile.TemporaryDirectory() as target:
            _run(
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--dry-run", *locks),
                *("--disable-pip-version-check", "--only-binary=:all:", "--require-hashes"),
                *("--implementation=cp", f"--python-version={python}", f"--target={target}"),
                *("--platform=manylinux_2_28_aarch64", "--platform=manylinux2014_aarch64"),
            )
        yield f"a wheel of every pin of {len(locks)} files is there for aarch64 with Python {python}"


def _image(work: Path, built: Path) -> Iterator[str]:
    """What the Dockerfile installs, and then as it runs: another user, and nothing to write to but /data."""
    app = work / "app"
    (wheel,) = built.glob("*.whl")
    _run(_python_of_the_image(), "-m", "venv", str(app))
    pip = (str(app / "bin" / "python"), "-m", "pip")
    quiet = ("install", "--quiet", "--no-cache-dir", "--disable-pip-version-check")
    _run(*pip, *quiet, "--require-hashes", "-r", str(ROOT / "requirements.txt"))
    _run(*pip, *quiet, "--no-deps", "--no-index", str(wheel))
    _run(*pip, "uninstall", "--quiet", "--yes", "pip")
    size = sum(file.lstat().st_size for file in app.rglob("*") if not file.is_dir())
    whole = _BASE + size
    assert whole <= _LARGEST, f"the image has about {whole / 1e6:.0f} MB"
    yield f"about {whole / 1e6:.0f} MB: {size / 1e6:.0f} MB installed, and the base of some {_BASE / 1e6:.0f}"
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        raise Missing("as another user with a read-only root: that takes root, unshare and setpriv")
    said = _served_read_only(work, app)
    yield f"as user {_USER}, with a read-only root, it serves and its health check says so: {said}"


def _python_of_the_image() -> str:
    found = re.search(r"^FROM python:([\d.]+)-", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    listed = _run(str(ROOT / ".ci" / "find-pythons"))
    paths = dict(line.split(" ", 1) for line in listed.splitlines())
    if found[1] not in paths:
        raise Missing(f"Python {found[1]}, which is that of the image, is not on this machine")
    return paths[found[1]]


def check_of_the_image() -> list[str]:
    """The command of HEALTHCHECK."""
    found = re.search(
        r"^HEALTHCHECK .*?CMD (\[.*?\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    command: list[str] = json.loads(found[1])
    return command


# $1: the folder of the data; $2: the interpreter's own, which may lie in a home that nobody else may enter;
# $3: an empty one, to keep that in meanwhile; behind these the command.
_INSIDE = """
set -eu
data=$1 python=$2 kept=$3
shift 3
top=/$(echo "$python" | cut -d / -f 2)
case $(stat -c %A "$top") in
    *x|*t) ;;
    *) mount --bind "$python" "$kept"
       mount -t tmpfs -o mode=0755 tmpfs "$top"
       mkdir -p "$python"
       mount --bind "$kept" "$python" ;;
esac
mount -t tmpfs -o mode=0700,uid={user},gid={user} tmpfs "$data"
mount -o remount,ro,bind /
exec setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --bounding-set=-all "$@"
"""
_SERVE = r"""
import json, os, re, subprocess, sys
data, app, check = sys.argv[1:4]
os.chdir(data)
try:
    open(os.path.join(app, "written"), "w")
except OSError:
    pass
else:
    sys.exit("the root can be written to")
base = {"PATH": os.path.join(app, "bin"), "PYTHONDONTWRITEBYTECODE": "1", "SIDECAR_ADMIN__INSPECTOR": "off"}
env = base | {"SIDECAR_LISTEN": "127.0.0.1:0", "SIDECAR_STORE": f"sqlite:///{data}/sidecar.db"}
program = os.path.join(app, "bin", "sidecar")
serve = subprocess.Popen([program, "serve"], env=env, stdout=subprocess.PIPE, text=True)
try:
    port = re.search(r"http://127\.0\.0\.1:(\d+)/", serve.stdout.readline())[1]
    command = [each.replace("8790", port) for each in json.loads(check)]
    subprocess.run([os.path.join(app, "bin", command[0]), *command[1:]], env=base, check=True, timeout=20)
    print(f"user {os.getuid()}", *sorted(os.listdir(data)))
finally:
    serve.terminate()
    serve.wait(20)
"""


def _served_read_only(work: Path, app: Path) -> str:
    data, kept, program = work / "data", work / "kept", work / "serve.py"
    data.mkdir()
    kept.mkdir()
    program.write_text(_SERVE)
    python = app / "bin" / "python"
    own = python.resolve().parents[1]
    inside = ("sh", "-c", _INSIDE.format(user=_USER), "sh", str(data), str(own), str(kept))
    command = (str(python), str(program), str(data), str(app), json.dumps(check_of_the_image()))
    return _run("unshare", "--mount", *inside, *command).strip()


def _unit(work: Path) -> Iterator[str]:
    if shutil.which("systemd-analyze") is None:
        raise Missing("systemd-analyze is not on this machine")
    unit = work / "conversation-sidecar.service"
    text = (ROOT / "config" / unit.name).read_text()
    # It looks whether the program is there.
    unit.write_text(
        text.replace("/opt/conversation-sidecar/bin/sidecar", str(Path(sys.executable).parent / "sidecar"))
    )
    told = _run("systemd-analyze", "verify", str(unit))
    assert not told.strip(), told
    rated = _run("systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit))
    level = re.search(r"exposure level for \S+ ([\d.]+ \w+)", rated)
    yield f"{unit.name} is sound; its exposure is {level[1] if level else 'not known'}"


def _unit_of_open_webui(work: Path) -> Iterator[str]:
    """The one that the guide to Open WebUI shows."""
    if shutil.which("systemd-analyze") is None:
        raise Missing("systemd-analyze is not on this machine")
    (text,) = blocks("openwebui", "ini")
    unit = work / "open-webui.service"
    # It looks whether the program is there.
    unit.write_text(text.replace("/opt/open-webui/bin/open-webui", sys.executable))
    told = _run("systemd-analyze", "verify", str(unit))
    assert not told.strip(), told
    yield f"{unit.name} is sound"


def _run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    env = os.environ | environment
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
