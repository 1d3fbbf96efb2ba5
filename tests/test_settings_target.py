"""The settings of how an upstream is reached: what cannot work is said at the start, with its cure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.settings import SettingsError, exposed_files, load, summary
from tests.proxy.authority import Authority


def mistakes(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load({}, {f"SIDECAR_TARGET__{name}": value for name, value in environ.items()})
    return "\n".join(caught.value.mistakes)


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("PROXY", "socks5://127.0.0.1:1080", "http://proxy.example:3128"),
        ("PROXY", "proxy.example:3128", "http://proxy.example:3128"),
        ("PROXY", "http://u:hush@proxy.example:3128/path?x", "scheme, host and port alone"),
        ("PROXY", "http://u:hush@:3128", "http://proxy.example:3128"),
        ("HEADERS", "X-Org=hush", "JSON object"),
        ("HEADERS", '["hush"]', "JSON object"),
        ("HEADERS", '{"X Org": "hush"}', "not the name of an HTTP header"),
        ("HEADERS", '{"Host": "hush"}', "HTTP itself needs"),
        ("HEADERS", '{"Proxy-Authorization": "hush"}', "connection itself needs"),
        ("HEADERS", '{"X-Org": "hush\\r\\nX: y"}', "no header can carry"),
        ("HEADERS", '{"X-Org": ""}', "empty"),
        ("HEADERS", '{"X-Org": "hush", "x-org": "hush"}', "twice"),
        ("HEADERS", '{"X-Conversation-ID": "hush"}', "names a conversation"),
        ("API_KEY", "Bearer hush", "without Bearer"),
        ("CA_FILE", "/nowhere/ca.pem", "a file that this user can read"),
        ("CLIENT_CERT", "/nowhere/cert.pem", "a file that this user can read"),
        ("REPLACE_CREDENTIAL", "true", "no key to put in the place"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_its_cure_and_never_repeated(name, value, cure):
    said = mistakes({name: value})
    assert f"target.{name.lower()}" in said
    assert cure in said
    assert "hush" not in said


def test_files_that_hold_no_certificate_are_all_told_at_once(tmp_path: Path):
    empty = tmp_path / "empty.pem"
    empty.write_text("hush")
    said = mistakes({"CA_FILE": str(empty), "CLIENT_CERT": str(tmp_path), "PROXY": "ftp://x"})
    assert [line.split(" ")[0] for line in said.split("\n")] == [
        "target.proxy",
        "target.ca_file",
        "target.client_cert",
    ]
    assert "hush" not in said


@pytest.mark.parametrize("case", ["another's key", "no key", "locked", "key alone"])
def test_a_certificate_without_its_key_is_refused(tmp_path: Path, case: str):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("one", password=b"hush" if case == "locked" else b"")
    _, other = authority.issue("two")
    given = {"CLIENT_CERT": str(certificate)}
    if case == "another's key":
        given["CLIENT_KEY"] = str(other)
    elif case == "locked":
        given["CLIENT_KEY"] = str(key)
    elif case == "key alone":
        given = {"CLIENT_KEY": str(key)}
    said = mistakes(given)
    assert "target.client_cert" in said
    assert "target.client_key" in said


def test_key_and_certificate_may_be_one_file_or_two(tmp_path: Path):
    certificate, key = Authority(tmp_path).issue("one")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    load({}, {"SIDECAR_TARGET__CLIENT_CERT": str(both)})
    both.chmod(0o644)
    key.chmod(0o644)
    two = {"SIDECAR_TARGET__CLIENT_CERT": str(certificate), "SIDECAR_TARGET__CLIENT_KEY": str(key)}
    (said,) = exposed_files({}, load({}, two), two)
    assert said.startswith(f"target.client_key {key} can be read")


def test_what_is_secret_in_them_is_never_shown(tmp_path: Path):
    file = tmp_path / "sidecar.toml"
    file.write_text(
        '[target]\nproxy = "http://hush@proxy.example:3128"\napi_key = "hush"\n'
        '[target.headers]\n"CF-Access-Client-Secret" = "hush"\n'
    )
    settings = load({"config": str(file)}, {})
    assert settings.target.headers["CF-Access-Client-Secret"].get_secret_value() == "hush"
    assert "hush" not in summary(settings) + repr(settings)
    assert "target.headers = (set)" in summary(settings)


def test_headers_in_the_environment_are_json():
    settings = load({}, {"SIDECAR_TARGET__HEADERS": json.dumps({"X-Org": "acme"})})
    assert settings.target.headers["X-Org"].get_secret_value() == "acme"


def test_a_key_and_a_header_for_authorization_exclude_each_other():
    said = mistakes({"HEADERS": '{"authorization": "Basic aGk="}', "API_KEY": "sk-1"})
    assert "both set Authorization" in said


@pytest.mark.parametrize("section", ["tasks", "summary"])
def test_a_proxy_for_an_upstream_that_is_not_set_is_refused(section: str):
    with pytest.raises(SettingsError) as caught:
        load({}, {f"SIDECAR_{section.upper()}__PROXY": "http://127.0.0.1:3128"})
    assert f"{section}.upstream" in str(caught.value)


def test_the_demo_is_reached_without_what_the_settings_say_of_the_upstream():
    settings = load({}, {"SIDECAR_TARGET__PROXY": "http://127.0.0.1:3128"})
    assert settings.with_upstream("http://127.0.0.1:1/v1").target.proxy.get_secret_value() == ""
