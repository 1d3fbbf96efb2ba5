"""Flag, environment, file, default: the first that has a value gives it.

Rule: this is the only reader of the environment, and it reports every mistake at once. Each one names the
setting, where its value came from and what to write instead. A secret is never repeated.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sidecar.errors import SidecarError
from sidecar.settings.contradictions import Contradiction
from sidecar.settings.exposed import exposed
from sidecar.settings.model import DECLARED, PREFIX, SECTIONS, Setting, Settings
from sidecar.settings.values import without_password

CONFIG = "SIDECAR_CONFIG"

# What Kubernetes and Docker links set for a service called "sidecar": addresses, no settings.
_INJECTED = ("SIDECAR_SERVICE_", "SIDECAR_PORT_")
_INJECTED_NAME = "SIDECAR_PORT"

# pydantic's kinds of errors in our words; `shown` is the value.
_WORDS = {
    "literal_error": "{shown} is not one of {expected}",
    "int_type": "{shown} is not a whole number",
    "int_parsing": "{shown} is not a whole number",
    "int_from_float": "{shown} is not a whole number",
    "float_type": "{shown} is not a number",
    "float_parsing": "{shown} is not a number",
    "finite_number": "{shown} is not a finite number",
    "greater_than_equal": "{shown} is too small; give {ge:g} or more",
    "greater_than": "{shown} is too small; give more than {gt:g}",
    "less_than_equal": "{shown} is too large; give at most {le:g}",
    "bool_type": "{shown} is not a boolean; write true or false",
    "bool_parsing": "{shown} is not a boolean; write true or false",
    "string_type": "{shown} is not text; put it in quotes",
    "tuple_type": '{shown} is not a list; write ["…", "…"]',
    "missing": "is missing",
    "extra_forbidden": "there is no such key; config/sidecar.toml has those that there are",
    "model_type": '{shown} is not a table; write {{match = "…"}}',
    "value_error": "{error}",
}


class SettingsError(SidecarError):
    """The settings cannot be used. `mistakes` has one sentence for each thing to mend."""

    code = "invalid_settings"

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("the settings cannot be used: " + "; ".join(self.mistakes))


class _Given(NamedTuple):
    value: Any
    where: str


_Layer = dict[str, _Given]


def load(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in force.

    `flags` has dotted names of settings, and `config` for the TOML file; None means "not given". `environ`
    is the process's own unless given. Raises SettingsError with every mistake found.
    """
    environ = os.environ if environ is None else environ
    mistakes: list[str] = []
    given = _given(flags, environ, mistakes)
    settings = _validated(given, mistakes)
    if settings is None or mistakes:
        raise SettingsError(mistakes)
    return settings


def origins(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Where each setting that is given comes from, by its name: a flag, a variable, or a file and its key."""
    given = _given(flags, os.environ if environ is None else environ, [])
    return {name: each.where for name, each in given.items()}


def _given(flags: Mapping[str, Any], environ: Mapping[str, str], mistakes: list[str]) -> _Layer:
    return {
        **_file(*_file_name(flags, environ), mistakes),
        **_environment(environ, mistakes),
        **_flags(flags),
    }


def exposed_files(
    flags: Mapping[str, Any], settings: Settings, environ: Mapping[str, str] | None = None
) -> list[str]:
    """What is no mistake and should be known: files with secrets that others can read, a sentence each."""
    path, named_by = _file_name(flags, os.environ if environ is None else environ)
    key_file = settings.encryption.key_file
    files = [("encryption.key_file", key_file)] if key_file else []
    if settings.target.client_cert:
        key_file = settings.target.client_key or settings.target.client_cert
        files.append(("target.client_key" if settings.target.client_key else "target.client_cert", key_file))
    files += [
        (f"the key of the target {each.name!r}", each.client_key or each.client_cert)
        for each in settings.targets
        if each.client_cert
    ]
    if path and any(map(_is_secret, _file(path, named_by, []).items())):
        files.append(("the file of settings", path))
    return [said for what, file in files if (said := exposed(what, file))]


def _is_secret(given: tuple[str, _Given]) -> bool:
    name, (value, _) = given
    if name == "targets":
        return any(each.get(key) for each in value for key in ("api_key", "headers", "proxy"))
    return bool(value) and (
        DECLARED[name].is_secret or (isinstance(value, str) and without_password(value) != value)
    )


def _flags(flags: Mapping[str, Any]) -> _Layer:
    return {
        name: _Given(value, f"flag --{name}")
        for name, value in flags.items()
        if value is not None and name != "config"
    }


def _environment(environ: Mapping[str, str], mistakes: list[str]) -> _Layer:
    known = {setting.environment: setting for setting in DECLARED.values()}
    layer: _Layer = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable == CONFIG or _is_injected(variable):
            continue
        where = f"environment variable {variable}"
        setting = known.get(variable)
        if setting is None:
            near = _nearest(variable.upper(), [*known, CONFIG], PREFIX)
            mistakes.append(f"{where}: there is no such setting{near}")
        elif text.strip():
            try:
                layer[setting.name] = _Given(_parsed(setting, text.strip()), where)
            except ValueError as error:
                mistakes.append(f"{setting.name} ({where}): {error}")
    return layer


def _is_injected(variable: str) -> bool:
    return variable == _INJECTED_NAME or variable.startswith(_INJECTED)


def _parsed(setting: Setting, text: str) -> Any:
    if not setting.is_list:
        return text
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError('is not a JSON array; write ["…", "…"]') from None
    if setting.is_tables:
        raise ValueError('is a list of tables; write a JSON array: [{"match": "…", …}]')
    if setting.name == "tasks.openings":
        # Sentences have commas: a half of one would be an opening that a person may well write.
        raise ValueError('is a list of sentences; write a JSON array: ["…", "…"]')
    return [part.strip() for part in text.split(",") if part.strip()]


def _file_name(flags: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str | None, str]:
    """(path, where the path was given). There is no file that is read without being named."""
    if flags.get("config") is not None:
        return flags["config"], "flag --config"
    return environ.get(CONFIG, "").strip() or None, f"environment variable {CONFIG}"


def _file(path: str | None, named_by: str, mistakes: list[str]) -> _Layer:
    if path is None:
        return {}
    where = f"file {path}, named by {named_by}"
    try:
        # Editors on Windows put a mark before the first character, which TOML does not know.
        content = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        mistakes.append(
            f"{where}: cannot be read ({error.strerror or error}); name a file that this user can read"
        )
        return {}
    except UnicodeDecodeError:
        mistakes.append(f"{where}: is not UTF-8 text; save it as UTF-8")
        return {}
    except ValueError as error:
        mistakes.append(f"{where}: is not TOML: {error}")
        return {}
    return dict(_keys(content, path, mistakes))


def _keys(content: dict[str, Any], path: str, mistakes: list[str]) -> Iterator[tuple[str, _Given]]:
    for key, value in content.items():
        if key in SECTIONS and not isinstance(value, dict):
            mistakes.append(f"{key} (file {path}): is a section; write [{key}] and its settings below it")
        elif key in SECTIONS:
            for name, inner in value.items():
                yield from _key(f"{key}.{name}", inner, path, mistakes)
        else:
            yield from _key(key, value, path, mistakes)


def _key(name: str, value: Any, path: str, mistakes: list[str]) -> Iterator[tuple[str, _Given]]:
    if name in DECLARED:
        yield name, _Given(value, f"file {path}, key {name}")
    else:
        mistakes.append(
            f"file {path}, key {name}: there is no such setting{_nearest(name, [*DECLARED, *SECTIONS])}"
        )


def _nearest(name: str, known: list[str], prefix: str = "") -> str:
    # What all names begin with would make any two of them look alike.
    names = [each.removeprefix(prefix) for each in known]
    close = difflib.get_close_matches(name.removeprefix(prefix), names, n=1)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return "; take it out, or see config/guides/settings.md"


def _validated(given: _Layer, mistakes: list[str]) -> Settings | None:
    try:
        return Settings.model_validate(_nested(given))
    except ValidationError as error:
        details = error.errors(include_url=False)
    wrong = {_name(detail): None for detail in details}
    mistakes.extend(_sentence(detail, given) for detail in details if detail["type"] != "contradiction")
    # Contradictions show only once each value is fine by itself. So look again without the wrong values.
    sound = {name: value for name, value in given.items() if name not in wrong}
    mistakes.extend(
        f"{' and '.join(_origin(name, given) for name in found.settings)}: {found.problem}"
        for found in _contradictions(sound)
        if not wrong.keys() & set(found.settings)
    )
    return None


def _contradictions(given: _Layer) -> tuple[Contradiction, ...]:
    try:
        Settings.model_validate(_nested(given))
    except ValidationError as error:
        found: tuple[Contradiction, ...] = error.errors()[0]["ctx"]["found"]
        return found
    return ()


def _nested(given: _Layer) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, (value, _) in given.items():
        section, dot, key = name.rpartition(".")
        (tree.setdefault(section, {}) if dot else tree)[key] = value
    return tree


def _name(detail: ErrorDetails) -> str:
    # Below the name of a setting stand the position in its list, and the key in a table there.
    parts = [str(part) for part in detail["loc"] if not isinstance(part, int)]
    return next((name for end in (1, 2) if (name := ".".join(parts[:end])) in DECLARED), ".".join(parts))


def _inside(detail: ErrorDetails) -> str:
    """Which key of which table of a list is meant."""
    at = next((at for at, part in enumerate(detail["loc"]) if isinstance(part, int)), len(detail["loc"]))
    key = next((part for part in detail["loc"][at + 1 :] if isinstance(part, str)), None)
    return f" [{int(detail['loc'][at]) + 1}].{key}" if key else ""


def _origin(name: str, given: _Layer) -> str:
    return f"{name} ({given[name].where if name in given else 'default'})"


def _sentence(detail: ErrorDetails, given: _Layer) -> str:
    name = _name(detail)
    secret = name in DECLARED and DECLARED[name].is_secret
    shown = "the value" if secret else _shown(detail["input"])
    words = _WORDS.get(detail["type"], "{shown}: " + detail["msg"])
    return f"{_origin(name, given)}{_inside(detail)}: {words.format(shown=shown, **detail.get('ctx', {}))}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"


def set_environment(name: str, value: str) -> None:
    """Set a variable of the environment, for a library that is configured in no other way."""
    os.environ[name] = value


def get_environment(name: str) -> str:
    """What `set_environment` has set."""
    return os.environ[name]
