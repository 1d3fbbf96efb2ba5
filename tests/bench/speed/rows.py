"""The programs that are measured: started with the settings that they are meant to run with, and ended."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.bench.speed.clocks import on_cores
from tests.bench.speed.native import CannotMeasure
from tests.bench.speed.otlp import receiver
from tests.bench.speed.works import WORKS
from tests.e2e.install import node_packages, python_packages
from tests.e2e.program import free_ports, plain_environment

__all__ = ["CORE", "Row", "Running", "rows"]

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
#: Not that of the generator and the upstream.
CORE = 0
_KEY = "sk-bench-0123456789"


@dataclass(frozen=True)
class Running:
    """`headers`: what each request has to tell it, such as where the upstream is, in place of what has
    their names otherwise. `over_responses`: over which API it is asked."""

    port: int
    pid: int
    headers: tuple[str, ...] = ()
    over_responses: bool = False


@dataclass(frozen=True)
class Row:
    """A name, and how to run it in a folder in front of an upstream's port."""

    name: str
    run: Callable[[int, Path], AbstractAsyncContextManager[Running]]
    #: Whether it passes on what the upstream sent, byte for byte.
    is_exact: bool = True
    does_streams: bool = True
    #: Whether it is asked over the Responses API, which it translates.
    over_responses: bool = False


def rows(
    *, peers: bool, workers: int = 1, traces: bool = False, backends: bool = False
) -> tuple[list[Row], list[str]]:
    """The rows, and what has to be said of those that are missing."""
    found, missing = [], []
    if nginx := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin"):
        found.append(Row("nginx", _nginx(nginx)))
    else:
        missing.append("nginx is not installed, so its row is left out. Debian and Ubuntu: apt install nginx")
    found += [Row("nothing", _nothing), Row("sidecar", _sidecar(1))]
    found.append(Row("translated", _sidecar(1, over_responses=True), is_exact=False, over_responses=True))
    if traces:
        found += [
            Row(f"traced {share:.0%}", _sidecar(1, name=f"traced{at}", traced=share))
            for at, share in enumerate((0.1, 1.0))
        ]
    if backends:
        found += [
            Row("with targets", _sidecar(1, name="targets", targets=True)),
            Row("with a session header", _sidecar(1, name="session", session=True)),
            Row("with keys", _sidecar(1, name="keys", keys=True)),
            Row("with all three", _sidecar(1, name="three", targets=True, session=True, keys=True)),
        ]
    if workers > 1:
        found.append(Row(f"sidecar x{workers}", _sidecar(workers)))
    if peers:
        found += [
            Row("LiteLLM", _litellm, is_exact=False),
            Row("Portkey", _portkey, is_exact=False, does_streams=False),
        ]
        missing.append(
            "Portkey's gateway is measured without streams: 1.15.2 on Node.js 20 answers 500 to one."
        )
    else:
        missing.append("LiteLLM and Portkey's gateway are measured with --peers.")
    return found, missing


@asynccontextmanager
async def _started(
    command: Sequence[str],
    folder: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    cores: Sequence[int] = (CORE,),
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as written, on_cores(*cores):
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={**plain_environment(), **(environment or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=written,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _port_told(process: asyncio.subprocess.Process, log: Path, pattern: str = r"(\d+)\s*$") -> int:
    assert process.stdout
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    found = re.search(pattern, line)
    if found is None:
        raise CannotMeasure(f"it does not start: {line}{log.read_text()[-2000:]}")
    return int(found[1])


@asynccontextmanager
async def _nothing(upstream: int, folder: Path) -> AsyncIterator[Running]:
    log = folder / "nothing.log"
    async with _started([sys.executable, str(_HERE / "nothing.py"), str(upstream)], folder, log) as process:
        yield Running(await _port_told(process, log), process.pid)


def _sidecar(
    workers: int,
    *,
    name: str = "sidecar",
    over_responses: bool = False,
    traced: float = 0.0,
    targets: bool = False,
    session: bool = False,
    keys: bool = False,
) -> Callable[[int, Path], AbstractAsyncContextManager[Running]]:
    """Several share all cores with the load generator and the upstream. `traced`: which share of requests.
    `targets`: by model, of two, the first of which has two URLs; `session`: the id of the chat goes upstream
    in a header, as with a profile; `keys`: each client needs a key."""

    @asynccontextmanager
    async def run(upstream: int, folder: Path) -> AsyncIterator[Running]:
        own = f"translating{workers}" if over_responses else f"{name}{workers}"
        log, store = folder / f"{own}.log", folder / f"{own}.db"
        command = [sys.executable, "-m", "sidecar", "serve", "--listen", "127.0.0.1:0"]
        command += ["--upstream", f"http://127.0.0.1:{upstream}/v1", "--store", f"sqlite:///{store}"]
        command += ["--workers", str(workers)]
        cores = [CORE] if workers == 1 else []
        environment = {"PYTHONPATH": str(_ROOT)}
        if over_responses:
            environment["SIDECAR_RESPONSES__UPSTREAM"] = "translate"
        async with AsyncExitStack() as stack:
            if targets:
                environment["SIDECAR_TARGETS"] = json.dumps(_targets(upstream))
            if session:
                environment["SIDECAR_SESSION__HEADERS"] = "X-Session-Affinity"
            headers: tuple[str, ...] = ()
            if keys:
                environment["SIDECAR_KEYS__ENFORCEMENT"] = "required"
                headers = (f"Authorization: Bearer {await _key(folder, store, environment)}",)
            if traced:
                to = await stack.enter_async_context(receiver())
                environment |= _traces(to, traced)
            process = await stack.enter_async_context(
                _started(command, folder, log, environment, cores=cores)
            )
            port = await _port_told(process, log, r"http://127\.0\.0\.1:(\d+)/v1 in")
            yield Running(port, process.pid, headers, over_responses=over_responses)

    return run


def _targets(port: int) -> list[dict[str, object]]:
    origin = f"http://127.0.0.1:{port}"
    return [
        {"name": "two", "url": [f"{origin}/v1", f"{origin}/other/v1"], "models": ["mock*"]},
        {"name": "other", "url": f"{origin}/v1", "models": ["none*"], "priority": 1},
    ]


async def _key(folder: Path, store: Path, environment: Mapping[str, str]) -> str:
    """A new key."""
    command = [sys.executable, "-m", "sidecar", "keys", "add", "bench", "--store", f"sqlite:///{store}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**plain_environment(), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await asyncio.wait_for(process.communicate(), 60)
    if process.returncode:
        raise CannotMeasure(f"no key can be made: {complained.decode()[-2000:]}")
    return said.decode().split()[0]


def _traces(port: int, share: float) -> dict[str, str]:
    return {
        "SIDECAR_TRACES__REQUESTS": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(share),
    }


_NGINX = """
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 20000;
pid %(folder)s/nginx.pid; error_log %(folder)s/nginx.log warn;
events { worker_connections 8192; multi_accept on; }
http {
    access_log off; tcp_nodelay on; keepalive_requests 1000000;
    client_max_body_size 64m; client_body_buffer_size 1m;
    client_body_temp_path %(folder)s/b; proxy_temp_path %(folder)s/p; fastcgi_temp_path %(folder)s/f;
    uwsgi_temp_path %(folder)s/u; scgi_temp_path %(folder)s/s;
    upstream backend { server 127.0.0.1:%(upstream)d; keepalive 1024; keepalive_requests 1000000; }
    server {
        listen 127.0.0.1:%(port)d backlog=4096;
        location / {
            proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off; proxy_read_timeout 600s;
        }
    }
}
"""


def _nginx(binary: str) -> Callable[[int, Path], AbstractAsyncContextManager[Running]]:
    @asynccontextmanager
    async def run(upstream: int, folder: Path) -> AsyncIterator[Running]:
        (port,) = free_ports(1)
        file, log = folder / "nginx.conf", folder / "nginx.out"
        file.write_text(_NGINX % {"folder": folder, "upstream": upstream, "port": port})
        command = [binary, "-c", str(file), "-p", str(folder), "-e", str(folder / "nginx.log")]
        async with _started(command, folder, log) as process:
            await _answers(f"http://127.0.0.1:{port}/v1/models", process, log, 10)
            yield Running(port, process.pid)

    return run


@asynccontextmanager
async def _litellm(upstream: int, folder: Path) -> AsyncIterator[Running]:
    (port,) = free_ports(1)
    backend = {"api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "sk-backend"}
    names = sorted({work.model for work in WORKS})
    config = {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", **backend}} for name in names
        ],
        "litellm_settings": {"telemetry": False, "request_timeout": 600},
    }
    file, log = folder / "litellm.json", folder / "litellm.log"
    file.write_text(json.dumps(config))  # JSON is YAML
    binary = python_packages("litellm", ["litellm[proxy]==1.106.2"]) / "litellm"
    command = [str(binary), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    alone = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": _KEY, "LITELLM_LOG": "ERROR"}
    alone["REPEATED_STREAMING_CHUNK_LIMIT"] = (
        "1000000"  # it takes chunks that are all alike for a broken model
    )
    # What it prints nobody reads, and a full pipe would stop it.
    command = ["sh", "-c", 'exec "$@" >&2', "sh", *command]
    async with _started(command, folder, log, alone) as process:
        await _answers(f"http://127.0.0.1:{port}/health/liveliness", process, log, 120)
        yield Running(port, process.pid)


@asynccontextmanager
async def _portkey(upstream: int, folder: Path) -> AsyncIterator[Running]:
    (port,) = free_ports(1)
    log = folder / "portkey.log"
    modules = node_packages("portkey", {"@portkey-ai/gateway": "1.15.2"}) / "node_modules"
    server = modules / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    node = shutil.which("node")
    if node is None:
        raise CannotMeasure("Portkey's gateway needs Node.js")
    command = ["sh", "-c", 'exec "$@" >&2', "sh", node, str(server), "--headless", f"--port={port}"]
    told = ("x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{upstream}/v1")
    async with _started(command, folder, log) as process:
        await _answers(f"http://127.0.0.1:{port}/", process, log, 60)
        yield Running(port, process.pid, told)


async def _answers(url: str, process: asyncio.subprocess.Process, log: Path, patience: float) -> None:
    """Wait until it answers there."""
    async with aiohttp.ClientSession() as http:
        for _ in range(int(patience * 5)):
            try:
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                if process.returncode is not None:
                    break
            await asyncio.sleep(0.2)
    raise CannotMeasure(f"it does not start: {log.read_text()[-2000:]}")
