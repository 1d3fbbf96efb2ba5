"""Chats of Open WebUI come in, and its next request goes on where they were."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from contextlib import closing

import pytest
from aiohttp import ClientSession

from sidecar.server.serve import running
from sidecar.settings import Settings
from tests.commands.webui import START, Webui, said, told

KEY = "sk-of-the-connection"
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}', "status": "completed"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "42"}]}
DONE = {"type": "message", "content": [{"type": "output_text", "text": "It is 42."}]}


@pytest.fixture
def webui(tmp_path):
    (tmp_path / "owui").mkdir()
    return Webui(tmp_path / "owui" / "webui.db")


@pytest.fixture
def bring(run, webui):
    def bring(*flags, credential=KEY):
        named = ["--credential", credential] if credential else []
        return run("import", "openwebui", str(webui.file), *named, *flags)

    return bring


def conversations(run):
    lines = [json.loads(line) for line in run("export")[1].splitlines()]
    return [line for line in lines if "conversation" in line]  # else it is an exchange's


def says(chat="chat-1", user="ada", *, message=None, question=None, after=None):
    """The headers of a request, as its guide has Open WebUI send them."""
    named = {"X-Conversation-ID": chat, "X-User-ID": user, "Authorization": f"Bearer {KEY}"}
    ids = {"X-Message-ID": message, "X-User-Message-ID": question, "X-User-Message-Parent-ID": after}
    return named | {name: value or "" for name, value in ids.items()}


def ask(file, messages, headers, **settings):
    """What became of one request: its outcome, and what the upstream was sent."""

    async def ask():
        given = Settings.model_validate({"store": f"sqlite:///{file}", "listen": "127.0.0.1:0", **settings})
        async with running(given) as url, ClientSession() as http:
            body = {"model": "demo", "messages": messages}
            async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                assert response.status == 200, await response.text()
                await response.read()
                return response.headers["X-Sidecar-Outcome"]

    return asyncio.run(ask())


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def test_a_chat_comes_in_with_its_branches(run, bring, webui, file):
    webui.add(
        "chat-1",
        said("u1", None, "First?"),
        told("a1", "u1", "One."),
        said("u2", "a1", "Second?"),
        told("a2", "u2", "Two.", usage={"prompt_tokens": 7}),
        told("a2b", "u2", "Two, again.", model="other"),
        said("u2b", "a1", "Second, differently?"),
        told("a3", "u2b", "Cut", error={"content": "cut"}),
        current="a2",
    )

    code, out, err = bring()

    assert (code, out) == (0, "")
    assert err == (
        f"sidecar: the chats go into a new store, {file}\n"
        "sidecar: 1 chats; new: 1 conversations, 7 messages\n"
    )
    (chat,) = conversations(run)
    assert chat["conversation"]["key"] == "chat-1"
    assert chat["conversation"]["created_at"] == START
    names = {each["id"]: each["message_id"] for each in chat["messages"]}
    assert [
        (
            each["message_id"],
            names.get(each["parent"]),
            each["message"]["content"],
            each["source"],
            each["state"],
        )
        for each in chat["messages"]
    ] == [
        ("u1", None, "First?", "client", "complete"),
        ("a1", "u1", "One.", "upstream", "complete"),
        ("u2", "a1", "Second?", "client", "complete"),
        ("a2", "u2", "Two.", "upstream", "complete"),
        ("a2b", "u2", "Two, again.", "upstream", "complete"),
        ("u2b", "a1", "Second, differently?", "client", "complete"),
        ("a3", "u2b", "Cut", "upstream", "failed"),
    ]
    assert [each["model"] for each in chat["messages"]] == [None, "demo", None, "demo", "other", None, "demo"]
    assert run("verify")[0] == 0
    assert bring()[2].endswith("\nsidecar: 1 chats; new: 0 conversations, 0 messages\n")


HISTORY = [user("First?"), assistant("One."), user("Second?")]


@pytest.fixture
def two_turns(webui):
    webui.add(
        "chat-1",
        said("u1", None, "First?"),
        told("a1", "u1", "One."),
        said("u2", "a1", "Second?"),
        told("a2", "u2", "Two."),
    )


def test_it_says_into_which_store_and_whether_that_is_new(run, two_turns, webui, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bring = ("import", "openwebui", str(webui.file), "--credential", KEY, "--store", "sqlite:///other.db")

    for which in ("a new store, ", "the store "):
        said = run(*bring, store=None)[2]
        assert said.startswith(f"sidecar: the chats go into {which}{tmp_path / 'other.db'}\n")


@pytest.mark.parametrize("ids", [True, False])
def test_the_next_turn_continues_it(run, bring, two_turns, file, ids):
    bring()
    headers = says(message="a3", question="u3", after="a2") if ids else says()

    assert ask(file, [*HISTORY, assistant("Two."), user("Third?")], headers) == "continue"
    (chat,) = conversations(run)
    contents = [each["message"]["content"] for each in chat["messages"]]
    assert contents[:5] == ["First?", "One.", "Second?", "Two.", "Third?"]
    assert len(contents) == 6
    assert chat["messages"][4]["parent"] == chat["messages"][3]["id"]


@pytest.mark.parametrize("ids", [True, False])
def test_a_regenerate_is_a_retry(run, bring, two_turns, file, ids):
    bring()

    assert ask(file, HISTORY, says(message="a2c", question="u2", after="a1") if ids else says()) == "retry"
    (chat,) = conversations(run)
    assert len(chat["messages"]) == 5
    assert chat["messages"][4]["parent"] == chat["messages"][2]["id"]


def test_an_edit_of_the_first_turn_is_a_branch(run, bring, two_turns, file):
    bring()
    edited = [user("First?"), assistant("One."), user("Differently?")]

    assert ask(file, edited, says(message="a9", question="u9", after="a1")) == "branch"
    assert len(conversations(run)[0]["messages"]) == 6


def test_after_the_chat_went_on_another_import_brings_nothing_twice(run, bring, two_turns, webui, file):
    bring()
    ask(file, [*HISTORY, assistant("Two."), user("Third?")], says(message="a3", question="u3", after="a2"))
    answer = conversations(run)[0]["messages"][-1]["message"]["content"]
    webui.add(
        "chat-1",
        said("u1", None, "First?"),
        told("a1", "u1", "One."),
        said("u2", "a1", "Second?"),
        told("a2", "u2", "Two."),
        said("u3", "a2", "Third?"),
        told("a3", "u3", answer),
    )

    assert bring()[2].endswith("\nsidecar: 1 chats; new: 0 conversations, 0 messages\n")
    assert len(conversations(run)[0]["messages"]) == 6


def test_a_chat_that_the_sidecar_knows_without_ids_is_found_again(run, bring, webui, file):
    """Two answers that read alike, and a question that went up with a document put around it."""
    headers = says()
    ask(file, [user("Use this: <doc>. The question: Which code?")], headers)
    answer = conversations(run)[0]["messages"][1]["message"]["content"]
    ask(file, [user("Which code?"), assistant(answer), user("And?")], headers)
    second = conversations(run)[0]["messages"][3]["message"]["content"]
    ask(file, [user("Which code?"), assistant(answer), user("And?")], headers)
    before = conversations(run)
    webui.add(
        "chat-1",
        said("u1", None, "Which code?"),
        told("a1", "u1", answer),
        said("u2", "a1", "And?"),
        told("a2", "u2", second),
        told("a2b", "u2", second),
    )

    assert bring()[2].endswith("\nsidecar: 1 chats; new: 0 conversations, 0 messages\n")
    assert conversations(run) == before


def test_a_chat_that_went_on_before_the_import_is_not_doubled_and_gets_its_other_branches(
    run, bring, webui, file
):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    first = [
        user("What is it?"),
        assistant("", tool_calls=[call]),
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        assistant("It is 42."),
    ]
    ask(file, [*first, user("Why?")], says(message="a2", question="u2", after="a1"))
    why = conversations(run)[0]["messages"][-1]["message"]["content"]
    webui.add(
        "chat-1",
        said("u1", None, "What is it?"),
        told("a0", "u1", "No idea."),
        told("a1", "u1", "It is 42.", output=[CALL, RESULT, DONE]),
        said("u2", "a1", "Why?"),
        told("a2", "u2", why),
    )

    assert bring()[2].endswith("\nsidecar: 1 chats; new: 0 conversations, 1 messages\n")
    (chat,) = conversations(run)
    assert [each["message"]["content"] for each in chat["messages"] if each["message_id"] == "a0"] == [
        "No idea."
    ]
    after = [*first, user("Why?"), assistant(why), user("So?")]
    assert ask(file, after, says(message="a3", question="u3", after="a2")) == "continue"
    other = [user("What is it?"), assistant("No idea."), user("Try.")]
    assert ask(file, other, says(message="a4", question="u4", after="a0")) == "continue"


def test_an_answer_that_the_user_has_edited_is_another(run, bring, webui, file):
    ask(file, [user("First?")], says(message="a1", question="u1"))
    webui.add("chat-1", said("u1", None, "First?"), told("a1", "u1", "The user knows better."))

    assert bring()[2].endswith("sidecar: 1 chats; new: 0 conversations, 1 messages\n")
    assert ask(file, [user("First?"), assistant("The user knows better."), user("So?")], says()) == "continue"


def test_tool_calls_and_images_come_in_as_they_will_be_sent(run, bring, webui, file, tmp_path):
    (tmp_path / "owui" / "uploads").mkdir()
    (tmp_path / "owui" / "uploads" / "i-1_tiny.png").write_bytes(b"png")
    webui.upload("i-1", "/app/backend/data/uploads/i-1_tiny.png", "tiny.png")
    image = {"type": "file", "id": "i-1", "url": "i-1", "content_type": "image/png", "name": "tiny.png"}
    webui.add(
        "chat-1",
        said("u1", None, "What is it?", files=[image]),
        told("a1", "u1", "It is 42.", output=[CALL, RESULT, DONE]),
    )
    bring()
    tag = '<file type="file" id="i-1" url="i-1" content_type="image/png" name="tiny.png"/>'
    url = f"data:image/png;base64,{base64.b64encode(b'png').decode()}"
    question = [
        {"type": "text", "text": f"<attached_files>\n{tag}\n</attached_files>\n\n"},
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    # Open WebUI spells arguments anew.
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    history = [
        user(question),
        assistant("", tool_calls=[call]),
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        assistant("It is 42."),
        user("Why?"),
    ]

    assert ask(file, history, says(message="a2", question="u2", after="a1")) == "continue"
    (chat,) = conversations(run)
    assert len(chat["messages"]) == 6
    assert [each["message_id"] for each in chat["messages"]][:5] == ["u1", "a1", None, "a1", "u2"]


def test_each_user_gets_his_own(run, bring, webui, file):
    webui.add("chat-1", said("u", None, "hi"), told("a", "u", "ho"))
    webui.add("chat-2", said("u", None, "hi"), told("a", "u", "ho"), user="grace")

    assert bring("--user", "grace")[2].endswith("sidecar: 1 chats; new: 1 conversations, 2 messages\n")
    assert bring()[2].endswith("sidecar: 2 chats; new: 1 conversations, 2 messages\n")
    more = [user("hi"), assistant("ho"), user("and?")]
    assert ask(file, more, says("chat-2", "grace")) == "continue"
    assert ask(file, more, says("chat-1", "grace")) == "start"


def test_where_requests_tell_the_chat_alone_all_are_one_tenants(run, bring, two_turns, file):
    bring("--header-config", "chat")
    headers = {name: value for name, value in says().items() if name != "X-User-ID"}

    assert ask(file, [*HISTORY, assistant("Two."), user("Third?")], headers) == "continue"


def test_where_requests_tell_nothing_the_chat_is_known_by_its_content(run, bring, two_turns, file):
    for _ in range(2):
        bring("--header-config", "nothing")
    headers = {"Authorization": f"Bearer {KEY}"}

    assert ask(file, [*HISTORY, assistant("Two."), user("Third?")], headers) == "continue"
    (chat,) = conversations(run)
    assert chat["conversation"]["key"] is None
    assert len(chat["messages"]) == 6


def test_where_users_alone_tell_tenants_no_credential_is_asked_for(run, bring, two_turns, file, monkeypatch):
    monkeypatch.setenv("SIDECAR_TENANT__MODE", "user")
    assert bring(credential=None)[0] == 0
    history = [*HISTORY, assistant("Two."), user("Third?")]

    assert (
        ask(file, history, says() | {"Authorization": "Bearer other"}, tenant={"mode": "user"}) == "continue"
    )


def test_where_the_credential_tells_tenants_it_is_asked_for(run, bring, two_turns, file):
    code, _, err = bring(credential=None)

    assert code == 1
    assert "give --credential" in err
    assert bring("--no-credential", credential=None)[0] == 0


def test_older_chats_that_are_kept_as_one_come_in_as_well(run, webui, tmp_path, file):
    old = Webui(tmp_path / "old.db", old=True)
    old.add("chat-1", said("u1", None, "First?"), {**told("a1", "u1", "One."), "output": None})
    webui.add("chat-2", said("u1", None, "First?"), told("a1", "u1", "One."), rows=False)
    for each in (old, webui):
        done = run("import", "openwebui", str(each.file), "--credential", KEY)
        assert done[2].endswith("sidecar: 1 chats; new: 1 conversations, 2 messages\n")

    assert ask(file, [user("First?"), assistant("One."), user("So?")], says("chat-1")) == "continue"


def test_a_row_goes_before_what_the_chat_itself_says(run, bring, webui):
    webui.add("chat-1", said("u1", None, "First?"), told("a1", "u1", "One."))
    webui.execute("""UPDATE chat_message SET content = '"Rows know better?"' WHERE id = 'chat-1-u1'""")
    webui.execute("DELETE FROM chat_message WHERE id = 'chat-1-a1'")
    bring()

    (chat,) = conversations(run)
    assert [each["message"]["content"] for each in chat["messages"]] == ["Rows know better?", "One."]


def test_what_cannot_be_a_conversation_is_left_out_and_counted(bring, webui):
    webui.add("local:1", said("u", None, "hi"))
    webui.add("channel:1", said("u", None, "hi"))
    webui.add("ümlaut", said("u", None, "hi"))
    webui.add("empty")
    webui.execute("INSERT INTO chat (id, chat, created_at, updated_at) VALUES ('odd', 'no JSON', NULL, NULL)")
    webui.execute("INSERT INTO chat (id, chat) VALUES ('list', '[1]'), ('none', '{\"history\": null}')")

    assert bring()[2].endswith(
        "sidecar: 7 chats, left out 2 that are temporary or of channels,"
        " left out 1 that have no usable id, left out 4 that have no messages;"
        " new: 0 conversations, 0 messages\n"
    )


def test_messages_that_hang_on_nothing_or_on_themselves_come_in_at_the_root(run, bring, webui):
    webui.add(
        "chat-1",
        said("u1", "gone", "First?"),
        said("u2", "u2", "Second?"),
        told("a0", "u1", "", error={"content": "cut"}),
        said("u3", "a0", "Third?", timestamp=START * 1000),
        told("a3", "u3", "half", done=False),
    )
    bring()

    (chat,) = conversations(run)
    names = {each["id"]: each["message"]["content"] for each in chat["messages"]}
    parents = {each["message"]["content"]: names.get(each["parent"]) for each in chat["messages"]}
    assert parents == {"First?": None, "Second?": None, "Third?": "First?", "half": "Third?"}
    assert {each["created_at"] // 1000 for each in chat["messages"]} == {START // 1000}
    assert [each["state"] for each in chat["messages"]][-1] == "partial"


def test_nothing_is_written_to_the_database(bring, two_turns, webui):
    before = webui.file.read_bytes()
    bring()

    assert webui.file.read_bytes() == before


def test_a_database_that_is_none_is_said_so(run, tmp_path):
    (tmp_path / "diary.db").write_text("Dear diary, " * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.executescript("CREATE TABLE chat (id); PRAGMA user_version = 1")
    for name, why in (
        ("none.db", "there is no file"),
        ("diary.db", "cannot be read"),
        ("other.db", "no table"),
    ):
        code, _, err = run("import", "openwebui", str(tmp_path / name), "--credential", KEY)
        assert code == 1
        assert why in err
