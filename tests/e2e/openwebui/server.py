"""Open WebUI and the sidecar as processes, and what a test asks them behind the browser's back."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.install import python_packages
from tests.e2e.program import Program, StartFailed, plain_environment

__all__ = [
    "CONFIGURATIONS",
    "KEY",
    "NO_HEADERS",
    "RESPONSES",
    "STATEFUL",
    "Account",
    "Api",
    "open_webui",
    "settings_of",
    "sidecar",
    "start_open_webui",
]

#: The release that the tests run against; another one can be tried without touching a file.
VERSION = os.environ.get("OPEN_WEBUI_VERSION", "0.12.4")
# Of the builds of this version the one without CUDA is enough. First, else the newest one is taken.
TORCH = "torch==2.13.0"
KEY = "sk-of-the-tests"

_HEADERS = {
    "X-Conversation-ID": "{{CHAT_ID}}",
    "X-Message-ID": "{{MESSAGE_ID}}",
    "X-User-Message-ID": "{{USER_MESSAGE_ID}}",
    "X-User-Message-Parent-ID": "{{USER_MESSAGE_PARENT_ID}}",
    "X-Task": "{{TASK}}",
    "X-Model": "{{MODEL_ID}}",
    "X-User-ID": "{{USER_ID}}",
}


def _connection(**about: str) -> dict[str, str]:
    """The connection whose headers say which chat it is."""
    return {
        "ENABLE_FORWARD_USER_INFO_HEADERS": "False",
        "OPENAI_API_CONFIGS": json.dumps({"0": {"enable": True, **about, "headers": _HEADERS}}),
    }


#: The two ways in which its guide tells Open WebUI to say which chat it is.
CONFIGURATIONS: dict[str, dict[str, str]] = {
    "template headers": _connection(),
    "chat id only": {
        "ENABLE_FORWARD_USER_INFO_HEADERS": "True",
        "FORWARD_SESSION_INFO_HEADER_CHAT_ID": "X-Conversation-ID",
    },
}

#: And what it does when nobody tells it.
NO_HEADERS = "no headers"
#: And over the Responses API: with all that was said in each request, or going on from the response before
#: while its tools are called.
RESPONSES, STATEFUL = "responses", "stateful responses"
_SETTINGS = {
    **CONFIGURATIONS,
    NO_HEADERS: {"ENABLE_FORWARD_USER_INFO_HEADERS": "False"},
    RESPONSES: _connection(api_type="responses"),
    STATEFUL: {**_connection(api_type="responses"), "ENABLE_RESPONSES_API_STATEFUL": "True"},
}


def settings_of(configuration: str) -> dict[str, str]:
    """How the environment of Open WebUI says which chat it is, and over which API."""
    return _SETTINGS[configuration]


_OFFLINE = {
    "OFFLINE_MODE": "True",
    "HF_HUB_OFFLINE": "1",
    "ENABLE_VERSION_UPDATE_CHECK": "False",
    "ANONYMIZED_TELEMETRY": "False",
    "SCARF_NO_ANALYTICS": "True",
    "DO_NOT_TRACK": "True",
}
_ADMIN = {"email": "admin@example.com", "password": "of-the-tests", "name": "Ada"}


def sidecar(folder: Path, port: int, upstream: int) -> Program:
    return Program(
        (sys.executable, "-m", "sidecar", "serve"),
        url=f"http://127.0.0.1:{port}/-/ready",
        folder=folder,
        environment={
            **plain_environment(),
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "SIDECAR_LISTEN": f"127.0.0.1:{port}",
            "SIDECAR_UPSTREAM": f"http://127.0.0.1:{upstream}/v1",
            "SIDECAR_STORE": f"sqlite:///{folder}/sidecar.db",
            "SIDECAR_RESPONSES__UPSTREAM": "translate",
        },
        log=folder / "sidecar.log",
        patience=20,
    )


def open_webui(folder: Path, port: int, sidecar: int, configuration: str) -> Program:
    base = f"http://127.0.0.1:{sidecar}/v1"
    return Program(
        (*_command(), "serve", "--host", "127.0.0.1", "--port", str(port)),
        url=f"http://127.0.0.1:{port}/health",
        folder=folder,
        environment={
            **plain_environment(),
            **_OFFLINE,
            **settings_of(configuration),
            "OPENAI_API_BASE_URL": base,
            "OPENAI_API_KEY": KEY,
            "RAG_EMBEDDING_ENGINE": "openai",
            "RAG_OPENAI_API_BASE_URL": base,
            "RAG_OPENAI_API_KEY": KEY,
            "DATA_DIR": str(folder),
            "WEBUI_SECRET_KEY": "of-the-tests",
            "WEBUI_ADMIN_EMAIL": _ADMIN["email"],
            "WEBUI_ADMIN_PASSWORD": _ADMIN["password"],
            "WEBUI_ADMIN_NAME": _ADMIN["name"],
            "ENABLE_PERSISTENT_CONFIG": "False",
            "ENABLE_OLLAMA_API": "False",
            "ENABLE_EVALUATION_ARENA_MODELS": "False",
            "ENABLE_CHANNELS": "True",
            # Else only the administrator sees the models of a connection.
            "BYPASS_MODEL_ACCESS_CONTROL": "True",
        },
        log=folder / "open-webui.log",
        patience=180,
    )


def _command() -> tuple[str, ...]:
    return (str(python_packages("open-webui", [TORCH], [f"open-webui=={VERSION}"]) / "open-webui"),)


async def start_open_webui(program: Program) -> None:
    """Its start, and nothing else, may be tried twice: the first makes a database, and may be slow."""
    try:
        await program.start()
    except StartFailed as error:
        print(f"Open WebUI is started a second time: {error}", file=sys.stderr, flush=True)
        await program.start()


class Api:
    """Open WebUI's own HTTP interface: for what a scenario needs and is not about."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def call(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, self.url + path, json=body, headers=headers) as response,
        ):
            assert response.status < 300, f"{method} {path}: {response.status} {await response.text()}"
            return await response.json()

    async def admin(self) -> Account:
        return await self._sign_in(_ADMIN)

    async def user(self, admin: Account, name: str) -> Account:
        """A user of this name, made if there is none."""
        who = {"email": f"{name.lower()}@example.com", "password": "of-the-tests", "name": name}
        users = await self.call("GET", "/api/v1/users/all", token=admin.token)
        if all(each["email"] != who["email"] for each in users["users"]):
            await self.call("POST", "/api/v1/auths/add", {**who, "role": "user"}, token=admin.token)
        return await self._sign_in(who)

    async def _sign_in(self, who: dict[str, str]) -> Account:
        said = await self.call("POST", "/api/v1/auths/signin", who)
        settings = {"ui": {"version": VERSION, "showChangelog": False}}
        await self.call("POST", "/api/v1/users/user/settings/update", settings, token=said["token"])
        return Account(self, said["id"], said["token"])


class Account:
    """Somebody who is signed in to Open WebUI."""

    def __init__(self, api: Api, id: str, token: str) -> None:
        self.api, self.id, self.token = api, id, token

    async def get(self, path: str) -> Any:
        return await self.api.call("GET", path, token=self.token)

    async def post(self, path: str, body: Any = None) -> Any:
        return await self.api.call("POST", path, body, token=self.token)
