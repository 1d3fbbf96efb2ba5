"""Looking at what there is, and deleting it, as people do it."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tests.commands.conftest import talk

ADA = {"Authorization": "Bearer sk-shared", "X-User-ID": "ada"}
GRACE = {"Authorization": "Bearer sk-shared", "X-User-ID": "grace"}
BARE = {"api-key": "k-1"}


@pytest.fixture
def filled(file):
    talk(
        file,
        ("a-1", "The word is xyzzy.", ADA),
        ("a-1", "And then?", ADA),
        ("a-2", "Another xyzzy.", ADA),
        ("g-1", "Something harmless.", GRACE),
        ("same", "One harmless.", BARE),
        ("same", "One of nobody.", {}),
    )


def keys(run):
    return [
        json.loads(line)["key"] for line in run("conversations", "list", "--format", "jsonl")[1].splitlines()
    ]


def left(file):
    return b"".join(each.read_bytes() for each in file.parent.iterdir())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_list_says_what_each_takes_up(run, filled):
    code, out, _ = run("conversations", "list")
    lines = [line.split() for line in out.splitlines()]

    assert code == 0
    assert lines[0][:3] == ["id", "key", "tenant"]
    assert [line[1] for line in lines[1:]] == ["a-1", "a-2", "g-1", "same", "same"]
    assert [line[-2] for line in lines[1:]] == ["4", "2", "2", "2", "2"]
    assert len({line[2] for line in lines[1:]}) == 4


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--user", "ada", "--credential", "sk-shared"], ["a-1", "a-2"]),
        (["--user", "ada", "--credential", "Bearer sk-shared"], ["a-1", "a-2"]),
        (["--user", "grace", "--credential", "Authorization: Bearer sk-shared"], ["g-1"]),
        (["--user", "ada", "--credential", "sk-other"], []),
        (["--user", "ada", "--no-credential"], []),
        (["--credential", "api-key: k-1"], ["same"]),
        (["--no-credential"], ["same"]),
    ],
)
def test_a_user_is_whoever_a_request_with_these_headers_would_be(run, filled, flags, found):
    _, out, _ = run("conversations", "list", "--format", "jsonl", *flags)

    assert [json.loads(line)["key"] for line in out.splitlines()] == found


@pytest.mark.parametrize("format", ["text", "jsonl"])
def test_of_a_tenant_that_has_nothing_it_is_said_what_names_a_user(run, filled, format):
    flags = ("--format", format, "--credential", "sk-shared", "--user")
    code, out, err = run("conversations", "list", *flags, "Ada")
    assert (code, len(out.splitlines())) == (0, format == "text")
    assert "No conversation is kept of this tenant. --user takes the id that the client sends" in err
    assert run("conversations", "list", *flags, "ada")[2] == ""


def test_an_empty_store_needs_no_such_hint(run, file):
    talk(file)
    assert run("conversations", "list")[2] == ""


def test_a_credential_can_be_read_from_the_input(run, filled, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("sk-shared\n"))
    _, out, _ = run("conversations", "list", "--format", "jsonl", "--user", "grace", "--credential", "-")

    assert json.loads(out)["key"] == "g-1"


def test_on_a_terminal_it_is_asked_for_unseen(run, filled, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt, stream: "sk-shared")
    _, out, _ = run("conversations", "list", "--format", "jsonl", "--user", "grace", "--credential", "-")

    assert json.loads(out)["key"] == "g-1"


def test_a_user_alone_is_not_enough_where_the_credential_counts(run, filled):
    code, out, err = run("conversations", "list", "--user", "ada")

    assert (code, out) == (1, "")
    assert "give --credential" in err


def test_a_header_that_tells_no_tenant_is_refused(run, filled):
    assert (
        "x-mine is not one of tenant.credential_headers"
        in run("conversations", "list", "--credential", "X-Mine: 1")[2]
    )


@pytest.mark.parametrize(
    ("mode", "flags", "found"),
    [
        ("user", ["--user", "ada"], ["a-1", "a-2"]),
        ("fixed", ["--no-credential"], ["a-1", "a-2", "g-1", "same"]),
        ("credential", ["--credential", "sk-shared"], ["a-1", "a-2", "g-1"]),
    ],
)
def test_each_mode_asks_for_what_it_counts(run, file, monkeypatch, mode, flags, found):
    monkeypatch.setenv("SIDECAR_TENANT__MODE", mode)
    said = [("a-1", "hi", ADA), ("a-2", "hi", ADA), ("g-1", "hi", GRACE), ("same", "hi", {})]
    talk(file, *said, tenant={"mode": mode})
    _, out, _ = run("conversations", "list", "--format", "jsonl", *flags)

    assert [json.loads(line)["key"] for line in out.splitlines()] == found


def test_where_users_do_not_count_naming_one_is_refused(run, filled, monkeypatch):
    monkeypatch.setenv("SIDECAR_TENANT__MODE", "credential")

    assert (
        "users are not distinguished" in run("conversations", "list", "--user", "a", "--credential", "x")[2]
    )


def test_one_is_shown(run, filled):
    code, out, _ = run("conversations", "show", "g-1")

    assert code == 0
    assert out.startswith("# g-1\n\n## 1. user\n\n    Something harmless.")
    (line,) = run("conversations", "show", "g-1", "--format", "jsonl")[1].splitlines()
    told = json.loads(line)
    assert told["conversation"]["key"] == "g-1"
    assert [each["outcome"] for each in told["exchanges"]] == ["start"]
    assert run("conversations", "show", "g-9")[0] == 1


#: Every command that takes a conversation by its name.
NAMING = {
    "show": ["conversations", "show"],
    "delete": ["conversations", "delete", "--yes"],
    "inspect": ["inspect"],
    "export": ["export", "--conversation"],
    "markdown": ["export", "--format", "markdown", "--conversation"],
}


def ids(run, *flags):
    out = run("conversations", "list", "--format", "jsonl", *flags)[1]
    return [json.loads(line)["id"] for line in out.splitlines()]


@pytest.mark.parametrize("command", NAMING.values(), ids=NAMING)
def test_a_name_that_two_users_gave_is_refused_by_every_command(run, filled, command):
    code, out, err = run(*command, "same")
    both = ", ".join(ids(run)[3:])

    assert (code, out) == (1, "")
    assert (
        f"'same' is the key of several conversations; name one by its id: {both}; or say whose it is" in err
    )
    assert len(keys(run)) == 5


@pytest.mark.parametrize("command", NAMING.values(), ids=NAMING)
def test_it_means_one_by_its_id_or_where_it_is_said_whose_it_is(run, filled, command):
    of_nobody = ids(run)[4]
    told = run(*command, of_nobody)
    whose = run(*command, "same", "--credential", "api-key: k-1")

    assert (told[0], whose[0]) == (0, 0)
    if "delete" in command:
        assert keys(run) == ["a-1", "a-2", "g-1"]
    else:
        assert "One of nobody." in told[1]
        assert "One harmless." not in told[1]
        assert "One harmless." in whose[1]
        assert "One of nobody." not in whose[1]


@pytest.mark.parametrize("command", NAMING.values(), ids=NAMING)
def test_nobody_gets_another_users_by_its_name_or_its_id(run, filled, command):
    for name in ("g-1", ids(run)[2]):
        code, out, err = run(*command, name, "--user", "ada", "--credential", "sk-shared")

        assert (code, out) == (1, "")
        assert f"there is no conversation {name!r} of this tenant in sqlite:///" in err
    assert len(keys(run)) == 5


def test_an_id_names_its_own_whatever_another_user_calls_his(run, filled, file):
    id = ids(run)[2]
    talk(file, (id, "A name as another's id.", BARE))

    assert "Something harmless." in run("conversations", "show", id)[1]
    assert "A name as another's id." in run("conversations", "show", id, "--credential", "api-key: k-1")[1]


def test_a_name_that_many_gave_is_refused_in_a_line_of_bounded_length(run, file):
    talk(file, *(("main", "hi", {"X-User-ID": f"user-{number}"}) for number in range(10)))
    code, _, err = run("conversations", "show", "main")

    assert code == 1
    assert err.count("conv_") == 8
    assert " and 2 more; or say whose" in err


def test_a_user_is_given_what_is_kept_of_him_and_nobody_elses(run, filled):
    flags = ("--user", "ada", "--credential", "sk-shared")
    code, out, err = run("export", *flags)

    assert (code, err) == (0, "")
    assert [json.loads(line)["conversation"]["key"] for line in out.splitlines()] == ["a-1", "a-2"]
    assert run("export", "--format", "markdown", *flags)[1].startswith("# a-1\n\n## 1. user")


def test_who_has_nothing_here_is_told_so_and_not_given_nothing(run, filled):
    code, out, err = run("export", "--user", "ada", "--credential", "sk-mistyped")

    assert (code, out) == (1, "")
    assert "there is no conversation of this tenant; `sidecar conversations list` shows all" in err


@pytest.mark.parametrize("flags", [[], ["--no-compact"]])
def test_what_is_deleted_is_in_no_file_any_more(run, filled, file, flags):
    assert b"xyzzy" in left(file)
    code, out, err = run("conversations", "delete", "a-1", "a-2", "--yes", *flags)

    assert (code, out, err) == (0, "", "sidecar: deleted 2 conversations\n")
    assert keys(run) == ["g-1", "same", "same"]
    assert b"xyzzy" not in left(file)
    assert b"harmless" in left(file)


def test_deleting_a_user_deletes_nobody_elses(run, filled, file):
    code, _, err = run("delete", "--user", "ada", "--credential", "sk-shared", "--yes")

    assert (code, err) == (0, "sidecar: deleted 2 conversations\n")
    assert keys(run) == ["g-1", "same", "same"]
    assert b"xyzzy" not in left(file)


def test_deleting_a_tenant_by_the_name_that_the_list_gives(run, filled):
    listed = [json.loads(line) for line in run("conversations", "list", "--format", "jsonl")[1].splitlines()]

    assert run("delete", "--tenant", listed[2]["tenant"], "--yes")[0] == 0
    assert keys(run) == ["a-1", "a-2", "same", "same"]
    assert "is not a tenant" in run("delete", "--tenant", "xyz", "--yes")[2]


def test_deleting_everything_leaves_an_empty_store(run, filled, file):
    assert run("delete", "--all", "--yes") == (0, "", "sidecar: deleted 5 conversations\n")
    assert keys(run) == []
    for word in (b"xyzzy", b"harmless", b"nobody"):
        assert word not in left(file)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["delete", "--yes"], "name a tenant with --user"),
        (["delete", "--user", "nobody", "--credential", "x", "--yes"], "no conversation of this tenant"),
        (["conversations", "delete", "x-1", "--yes"], "there is no conversation 'x-1'"),
        (["conversations", "delete", "same", "--yes"], "is the key of several conversations"),
        (
            ["conversations", "delete", "a-1", "--no-compact"],
            "1 conversation permanently? Confirm it with --yes",
        ),
        (["delete", "--all"], "Delete 5 conversations (all of them) permanently? Confirm it with --yes"),
        (["delete", "--all", "--user", "ada", "--yes"], "--all means everything of everybody"),
        (["delete", "--all", "--tenant", "00" * 16, "--yes"], "--all means everything of everybody"),
        (["delete", "--tenant", "00" * 16, "--user", "ada", "--yes"], "--tenant says whose they are"),
    ],
)
def test_what_is_unclear_deletes_nothing(run, filled, monkeypatch, command, said):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, _, err = run(*command)

    assert code == 1
    assert said in err
    assert len(keys(run)) == 5


@pytest.mark.parametrize("flag", ["--user", "--credential", "--key"])
@pytest.mark.parametrize("command", [["export"], ["conversations", "list"], ["delete", "--yes"]])
def test_an_empty_name_does_not_mean_everybody(run, filled, capsys, command, flag):
    """A script whose variable is not set must not hand out what others said."""
    with pytest.raises(SystemExit) as ended:
        run(*command, flag, "")
    told = capsys.readouterr()

    assert ended.value.code == 2
    assert (told.out, f"argument {flag}: it is empty" in told.err) == ("", True)
    assert len(keys(run)) == 5


@pytest.mark.parametrize(
    ("answer", "code", "kept"), [("y\n", 0, 4), ("YES\n", 0, 4), ("n\n", 1, 5), ("", 1, 5)]
)
def test_on_a_terminal_the_command_asks(run, filled, monkeypatch, answer, code, kept):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    assert run("conversations", "delete", "a-1")[0] == code
    assert len(keys(run)) == kept


def test_a_store_that_is_not_there_is_not_made(run, file):
    assert run("conversations", "list")[0] == 1
    assert not file.exists()
