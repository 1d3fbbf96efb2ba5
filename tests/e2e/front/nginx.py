"""An nginx with the usual map for WebSockets, which keeps a connection to the sidecar; or as it is told."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.program import Program, free_ports, plain_environment

__all__ = ["Nginx", "nginx", "nginx_with"]

_AROUND = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    log_format requests '$request_method $uri $status';
    access_log {folder}/access.log requests;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""
_USUAL = """
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' '';
    }}
    upstream sidecar {{
        server {sidecar};
        keepalive 1;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://sidecar;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_request_buffering {buffering};
        }}
    }}
"""


@dataclass
class Nginx:
    """`log` gets a line for each request once it has ended: its method, path and status."""

    url: str
    log: Path

    def served(self) -> list[str]:
        return self.log.read_text().splitlines()


@asynccontextmanager
async def nginx(sidecar: str, folder: Path, *, buffering: str = "on") -> AsyncIterator[Nginx]:
    """In front of the sidecar at this URL. `buffering` of requests is "on" or "off"."""
    (port,) = free_ports(1)
    address = sidecar.removeprefix("http://")
    servers = _USUAL.format(sidecar=address, port=port, buffering=buffering)
    async with nginx_with(servers, port, folder) as running:
        yield running


@asynccontextmanager
async def nginx_with(servers: str, port: int, folder: Path) -> AsyncIterator[Nginx]:
    """With these in its configuration, of which one answers at this port, without TLS."""
    configuration = folder / "nginx.conf"
    # Else the worker of a nginx that root starts is nobody, who may not keep a long body in this folder.
    user = f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
    configuration.write_text(_AROUND.format(folder=folder, user=user, servers=servers))
    url = f"http://127.0.0.1:{port}"
    program = Program(
        (
            os.environ.get("NGINX") or shutil.which("nginx") or "/usr/sbin/nginx",
            *("-c", str(configuration), "-p", str(folder)),
        ),
        url=f"{url}/-/live",
        folder=folder,
        environment=plain_environment(),
        log=folder / "nginx.log",
        patience=10,
    )
    await program.start()
    try:
        yield Nginx(url, folder / "access.log")
    finally:
        await program.stop()
