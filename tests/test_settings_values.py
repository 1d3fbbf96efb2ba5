"""Single values of the settings, and combinations of them, that can or cannot work."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from sidecar.settings import Settings, SettingsError, load, summary

JWT_KEY = "a key of more than sixteen characters"


def mistakes(flags, environ):
    with pytest.raises(SettingsError) as caught:
        load(flags, environ)
    return caught.value.mistakes


def mistake_of(flags, environ=None):
    (mistake,) = mistakes(flags, environ or {})
    return mistake


class TestAddresses:
    @pytest.mark.parametrize(
        ("upstream", "base"),
        [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1"),
            ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1"),
            ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
            ("http://[::1]:11434", "http://[::1]:11434/v1"),
            (" https://example.org/a%2Fb// ", "https://example.org/a%2Fb"),
        ],
    )
    def test_the_upstream_is_a_base_url_and_v1_where_it_has_no_path(self, upstream, base):
        assert str(Settings(upstream=upstream).upstream_base) == base

    @pytest.mark.parametrize(
        ("upstream", "says"),
        [
            ("localhost:11434", "is not an absolute http or https URL"),
            ("//host/v1", "is not an absolute http or https URL"),
            ("http://", "is not an absolute http or https URL"),
            ("ftp://host/v1", "is not an absolute http or https URL"),
            ("http://my host/v1", "is not an absolute http or https URL"),
            ("", "is not an absolute http or https URL"),
            ("http://host:port/v1", "is not a URL"),
            ("http://host/v1?key=1", "must not have a query"),
            ("http://host/v1#", "must not have a query or a fragment"),
            ("http://host/v1/chat/completions", "must end before /chat/completions"),
        ],
    )
    def test_an_upstream_that_is_no_base_url_is_refused(self, upstream, says):
        assert f"upstream (flag --upstream): {says}" in mistake_of({"upstream": upstream})

    @pytest.mark.parametrize(
        "upstream", ["http://me:hunter2@host/v1", "http://hunter2@host", "ftp://:hunter2@host"]
    )
    def test_a_credential_in_the_upstream_is_refused_and_not_repeated(self, upstream):
        mistake = mistake_of({}, {"SIDECAR_UPSTREAM": upstream})
        assert "let the client send it (Authorization)" in mistake
        assert "hunter2" not in mistake

    def test_the_demo_has_a_base_url_once_it_runs(self):
        with pytest.raises(ValueError, match="with_upstream"):
            _ = Settings().upstream_base
        assert str(Settings().with_upstream("http://127.0.0.1:5/v1").upstream_base) == "http://127.0.0.1:5/v1"

    @pytest.mark.parametrize(
        ("listen", "host", "port"),
        [
            ("[::1]:8790", "::1", 8790),
            ("0.0.0.0:0", "0.0.0.0", 0),
            ("my-host.lan:65535", "my-host.lan", 65535),
        ],
    )
    def test_the_address_to_serve_on_has_a_host_and_a_port(self, listen, host, port):
        settings = Settings(listen=listen)
        assert (settings.listen_host, settings.listen_port) == (host, port)

    @pytest.mark.parametrize(
        "listen",
        ["8790", ":8790", "::1:8790", "[::1]", "[x]:1", "host:", "host:x", "h:65536", "h:-1", "http://h:1"],
    )
    def test_an_address_without_host_or_port_is_refused(self, listen):
        assert "listen (flag --listen): " in mistake_of({"listen": listen})

    @pytest.mark.parametrize(
        ("store", "path"),
        [
            ("sqlite:///sidecar.db", "sidecar.db"),
            ("sqlite:////var/lib/sidecar/a%20b.db", "/var/lib/sidecar/a%20b.db"),
            ("memory:", None),
            ("postgresql://me:hunter2@db/x?connections=5", "postgresql://me:hunter2@db/x?connections=5"),
            ("postgres://db1,db2:5433/x", "postgres://db1,db2:5433/x"),
            ("postgresql://me@[::1],[::2]:5433/x", "postgresql://me@[::1],[::2]:5433/x"),
            ("postgresql://me@/x?host=/run/postgresql", "postgresql://me@/x?host=/run/postgresql"),
        ],
    )
    def test_the_store_is_a_file_a_database_or_the_memory(self, store, path):
        assert Settings(store=store).store_path == path

    @pytest.mark.parametrize(
        ("store", "shown"),
        [
            ("postgresql://me:hunter2@db:5432/x?a=b", "postgresql://me:***@db:5432/x?a=b"),
            ("postgresql://db/x?password=hunter2&a=b", "postgresql://db/x?password=***&a=b"),
            ("postgresql://me@db/x", "postgresql://me@db/x"),
            ("sqlite:///sidecar.db", "sqlite:///sidecar.db"),
        ],
    )
    def test_the_password_of_a_store_is_never_shown(self, store, shown):
        settings = Settings(store=store)
        assert settings.store_shown == shown
        assert f'store = "{shown}"\n' in summary(settings)

    @pytest.mark.parametrize(
        ("store", "says"),
        [
            ("postgres+asyncpg://me:hunter2@db/x", 'must begin with "postgresql://", without a driver'),
            ("postgresql:me:hunter2@db/x", "is not a URL"),
            ("postgresql://me:hunter2@[db/x", "is not a URL"),
            ("postgresql://me:hunter2@db", "must name a database"),
            ("postgresql://me:hunter2@db/", "must name a database"),
            ("postgresql://me:hunter2@db/x/y", "must name a database"),
            ("postgresql://me:a/hunter2@db/x", "write @ as %40"),
            ("postgresql://me:a?hunter2@db/x", "write @ as %40"),
            ("postgresql://me:a#hunter2@db/x", "write @ as %40"),
            ("postgresql://me:hunter2@a@db/x", "write @ as %40"),
            ("postgresql://me:hunter2@db:port/x", "a port that is not a number"),
            ("postgresql://me:hunter2@db:70000/x", "a port that is not a number"),
            ("postgresql://me:hunter2@db:5432,other:0/x", "a port that is not a number"),
            ("postgresql://me:hunter2@[::1]:x/x", "a port that is not a number"),
            ("postgresql://me:hunter2@db/x?connections=0", "a number from 1 to 1000"),
            ("postgresql://me:hunter2@db/x?connections=1.5", "a whole number"),
            ("postgresql://me:hunter2@db/x?retry=soon", "a number from 0 to 600"),
            ("postgresql://me:hunter2@db/x?prepared=maybe", "has to be auto, on or off"),
            ("mysql://me:hunter2@db/x", 'must be "memory:", "sqlite:///'),
            ("sqlite://sidecar.db", 'must be "memory:", "sqlite:///'),
            ("sidecar.db", 'must be "memory:", "sqlite:///'),
            ("sqlite:///", "must name a file"),
            ("sqlite:////var/lib/", "must name a file"),
            ("sqlite:///x.db?mode=ro", "must name a file and nothing after it"),
            ("sqlite:///:memory:", 'write "memory:"'),
        ],
    )
    def test_a_store_that_there_is_not_is_refused(self, store, says):
        assert says in (mistake := mistake_of({"store": store}))
        assert "hunter2" not in mistake


class TestTheUpstreamOfTasks:
    def test_is_that_of_the_turns_unless_it_is_given(self):
        assert Settings().tasks_base is None
        given = Settings.model_validate({"tasks": {"upstream": "http://small:1/"}})
        assert str(given.tasks_base) == "http://small:1/v1"

    @pytest.mark.parametrize(
        ("url", "says"), [("demo", 'cannot be "demo"'), ("http://me:hunter2@small", "user name or password")]
    )
    def test_has_to_be_a_url(self, url, says):
        assert says in (mistake := mistake_of({"tasks.upstream": url}))
        assert "hunter2" not in mistake

    @pytest.mark.parametrize("key", ["Bearer hunter2", "hunter2\r\nX: y", "hunter2ß"])
    def test_gets_a_key_that_a_header_can_carry(self, key):
        mistake = mistake_of({"tasks.upstream": "http://small", "tasks.api_key": key})
        assert "give the key alone" in mistake
        assert "hunter2" not in mistake


class TestCombinationsThatCannotWork:
    @pytest.mark.parametrize(
        ("sections", "says"),
        [
            ({"tenant": {"mode": "user", "user_headers": []}}, "no header names the user"),
            ({"tenant": {"mode": "credential", "credential_headers": []}}, "no header holds the credential"),
            ({"tenant": {"user_jwt_secret": JWT_KEY, "user_jwt_header": ""}}, "no header to come in"),
            ({"identity": {"headers": ["authorization"]}}, "authorization carries the credential"),
            ({"identity": {"parent_id_header": "Cookie"}}, "Cookie carries the credential"),
            ({"session": {"headers": ["X-Session", "API-Key"]}}, "API-Key carries the credential"),
            ({"identity": {"headers": []}, "history": {"mode": "append"}}, "has to name its conversation"),
            ({"identity": {"headers": [], "fallback": "none"}}, "no request has a conversation"),
            ({"session": {"slot_files": 3}}, "no slot is known to be a chat's"),
            ({"trim": {"max_turns": 1, "keep_first_turn": True}}, "give 2 or more"),
            ({"trim": {"max_messages": 2, "keep_first_turn": True}}, "give 3 or more"),
            ({"upstream": "http://localhost:8790/v1"}, "the upstream is the sidecar itself"),
            ({"tasks": {"upstream": "http://[::1]:8790"}}, "the upstream is the sidecar itself"),
            ({"tasks": {"api_key": "sk-1"}}, "without an upstream of their own"),
            ({"tasks": {"forward_credential": True}}, "without an upstream of their own"),
            (
                {"tasks": {"upstream": "http://small/v1", "api_key": "sk-1", "forward_credential": True}},
                "carries one credential",
            ),
            (
                {"upstream": "http://127.0.0.1:8790", "listen": "0.0.0.0:8790"},
                "the upstream is the sidecar itself",
            ),
            ({"upstream": "http://box.lan:81", "listen": "box.lan:81"}, "the upstream is the sidecar itself"),
        ],
    )
    def test_are_refused(self, sections, says):
        with pytest.raises(ValidationError, match=re.escape(says)):
            Settings.model_validate(sections)

    @pytest.mark.parametrize(
        "sections",
        [
            {"tenant": {"mode": "user", "user_headers": [], "user_jwt_secret": JWT_KEY}},
            {"tenant": {"mode": "fixed", "credential_headers": [], "user_headers": []}},
            {"identity": {"headers": []}},
            {"identity": {"headers": [], "fallback": "none"}, "history": {"mode": "off"}},
            {"trim": {"max_turns": 2, "max_messages": 3, "keep_first_turn": True}},
            {"trim": {"max_turns": 1, "max_messages": 1}},
            {"upstream": "http://localhost:8791"},
            {"upstream": "http://localhost:8790", "listen": "192.0.2.1:8790"},
        ],
    )
    def test_and_their_neighbours_are_not(self, sections):
        assert Settings.model_validate(sections) != Settings()

    def test_each_setting_of_them_is_named_with_its_origin(self, tmp_path):
        file = tmp_path / "sidecar.toml"
        file.write_text("[trim]\nkeep_first_turn = true\n")
        found = mistakes({"config": str(file)}, {"SIDECAR_TRIM__MAX_TURNS": "1"})
        origins = (
            "trim.max_turns (environment variable SIDECAR_TRIM__MAX_TURNS) and"
            f" trim.keep_first_turn (file {tmp_path}/sidecar.toml, key trim.keep_first_turn): "
        )
        assert found[0].startswith(origins)

    def test_a_wrong_value_is_not_blamed_twice(self):
        found = mistakes({}, {"SIDECAR_TENANT__USER_HEADERS": "a b", "SIDECAR_TENANT__MODE": "user"})
        assert len(found) == 1


class TestOpenings:
    @pytest.mark.parametrize(
        "prompt",
        [
            "### Task:\nGenerate a concise title summarizing the chat history.\n### Guidelines:\n- The",
            "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n###",
            "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history, along",
            "### Task:\nPredict 3-5 useful messages this user might naturally send next to",
            "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might "
            "naturally ask next in this conversation",
            "### Task:\nAnalyze the chat history to determine the necessity of generating search queries, in",
            "### Task:\nGenerate a detailed prompt for am image generation task based on the given language",
            "### Task:\nYou are an autocompletion system. Continue the text in `<text>` based on the",
            "### Task:\nSummarize the conversation history that will be compacted out of the active chat "
            "context.",
            "Your task is to reflect the speaker's likely facial expression through a fitting emoji. In",
            'You have been provided with a set of responses from various models to the latest user query: "',
            'Available Tools: [{"name": "get_time"}]',
            "You are Open WebUI's private memory reviewer. Return only valid JSON.",
        ],
    )
    def test_know_every_task_of_open_webui(self, prompt):
        assert any(prompt.startswith(opening) for opening in Settings().tasks.openings)

    @pytest.mark.parametrize(
        "prompt",
        [
            "Provide a concise, 5-word-or-less title for the conversation, using title case",
            "Provide a concise, 5-word-or-less title for the conversation, using its same language, with no",
            "Analyze this conversation and provide:\n1. The detected language of the conversation\n2. A "
            "concise title in the detected language (5 words or less, no punctuation or quotation)",
        ],
    )
    def test_know_the_titles_of_librechat(self, prompt):
        assert any(prompt.startswith(opening) for opening in Settings().tasks.openings)

    @pytest.mark.parametrize(
        "text",
        [
            "### Task:\nRespond to the user query using the provided context, incorporating inline citations",
            "### Task:\nGenerate a title for my novel.",
            "Provide a concise, 5-word-or-less title for my novel.",
            "Analyze this conversation and provide:\n1. A summary",
            "You are an autocompletion system.",
        ],
    )
    def test_take_no_real_turn_for_a_task(self, text):
        assert not any(text.startswith(opening) for opening in Settings().tasks.openings)
