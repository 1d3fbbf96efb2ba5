"""Settings: what is declared, where a value comes from, and what is said about a mistake."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

import sidecar
from sidecar.settings import Settings, SettingsError, load, summary, table, template
from sidecar.settings.model import DECLARED

ROOT = Path(__file__).parent.parent


def mistakes(flags=None, environ=None, toml=None, tmp_path=None):
    flags = dict(flags or {})
    if toml is not None:
        file = tmp_path / "sidecar.toml"
        file.write_text(toml, encoding="utf-8")
        flags["config"] = str(file)
    with pytest.raises(SettingsError) as caught:
        load(flags, environ or {})
    return caught.value.mistakes


def outcome(environ):
    try:
        return load({}, environ)
    except SettingsError as error:
        return error.mistakes


def only_mistake(*args, **kwargs):
    (mistake,) = mistakes(*args, **kwargs)
    return mistake


class TestWhereAValueComesFrom:
    @pytest.fixture
    def config(self, tmp_path):
        file = tmp_path / "sidecar.toml"
        file.write_text(
            'listen = "127.0.0.1:1111"\nstore = "sqlite:///file.db"\n[trim]\nmax_turns = 11\nstep = 1\n'
        )
        return str(file)

    def test_without_anything_the_defaults_hold(self):
        assert load({}, {}) == Settings()

    def test_a_flag_wins_over_the_environment_which_wins_over_the_file(self, config):
        environ = {"SIDECAR_LISTEN": "127.0.0.1:2222", "SIDECAR_TRIM__MAX_TURNS": "22"}
        settings = load({"config": config, "listen": "127.0.0.1:3333", "upstream": None}, environ)
        assert (settings.listen, settings.trim.max_turns, settings.store) == (
            "127.0.0.1:3333",
            22,
            "sqlite:///file.db",
        )
        assert settings.trim.step == 1.0
        assert settings.upstream == "demo"

    def test_the_environment_names_a_file_and_the_flag_another(self, config, tmp_path):
        other = tmp_path / "other.toml"
        other.write_text("[trim]\nmax_turns = 5\n")
        assert load({}, {"SIDECAR_CONFIG": str(other)}).trim.max_turns == 5
        assert load({"config": config}, {"SIDECAR_CONFIG": str(other)}).trim.max_turns == 11

    def test_no_file_is_read_that_was_not_named(self, config, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert load({}, {}) == Settings()

    def test_an_empty_variable_means_not_set(self, config):
        environ = {"SIDECAR_LISTEN": "", "SIDECAR_TRIM__MAX_TURNS": "  ", "SIDECAR_CONFIG": ""}
        assert load({"config": config}, environ).trim.max_turns == 11
        assert load({}, environ) == Settings()

    def test_the_process_has_the_environment_unless_another_is_given(self, monkeypatch):
        monkeypatch.setenv("SIDECAR_LISTEN", "127.0.0.1:4444")
        assert load({}).listen_port == 4444
        assert load({}, {}).listen_port == 8790
        assert Settings().listen_port == 8790

    @pytest.mark.parametrize("text", ["X-A,X-B", " X-A , X-B, ", '["X-A", "X-B"]'])
    def test_a_list_in_the_environment_is_comma_separated_or_json(self, text):
        assert load({}, {"SIDECAR_SESSION__HEADERS": text}).session.headers == ("X-A", "X-B")

    def test_an_empty_list_is_written_as_json(self):
        assert load({}, {"SIDECAR_SESSION__HEADERS": "[]"}).session.headers == ()

    def test_the_word_none_takes_a_limit_of_the_file_away(self, config):
        assert load({"config": config}, {"SIDECAR_TRIM__MAX_TURNS": "none"}).trim.max_turns is None

    def test_what_kubernetes_sets_for_a_service_called_sidecar_is_no_setting(self):
        environ = {
            "SIDECAR_SERVICE_HOST": "10.0.0.1",
            "SIDECAR_SERVICE_PORT_HTTP": "8790",
            "SIDECAR_PORT": "tcp://10.0.0.1:8790",
            "SIDECAR_PORT_8790_TCP_ADDR": "10.0.0.1",
        }
        assert load({}, environ) == Settings()

    def test_a_file_from_windows_with_a_byte_order_mark_is_read(self, tmp_path):
        file = tmp_path / "sidecar.toml"
        file.write_bytes(b'\xef\xbb\xbf[logs]\r\nlevel = "DEBUG"\r\n')
        assert load({"config": str(file)}, {}).logs.level == "debug"

    def test_the_settings_package_is_the_only_reader_of_the_environment(self):
        readers = {
            file.relative_to(ROOT).parts[1]
            for file in Path(sidecar.__file__).parent.rglob("*.py")
            # Most need not be parsed to know.
            if re.search("environ|getenv", source := file.read_text(encoding="utf-8"))
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")
        }
        assert readers == {"settings"}


class TestMistakes:
    def test_all_are_reported_at_once_wherever_they_come_from(self, tmp_path):
        found = mistakes(
            {"listen": "8790"},
            {"SIDECAR_TRIM__STEP": "2", "SIDECAR_UPSTREM": "demo", "SIDECAR_SESSION__HEADERS": "[1"},
            '[tenant]\nmode = "user"\nuser_headers = []\n[history]\nmode = "ful"\n[hystory]\nmode = "off"\n',
            tmp_path,
        )
        starts = [
            f"file {tmp_path}/sidecar.toml, key hystory: there is no such setting",
            "environment variable SIDECAR_UPSTREM: there is no such setting; did you mean SIDECAR_UPSTREAM?",
            "session.headers (environment variable SIDECAR_SESSION__HEADERS): is not a JSON array",
            "listen (flag --listen): '8790' is not HOST:PORT",
            f"history.mode (file {tmp_path}/sidecar.toml, key history.mode): \"ful\" is not one of 'auto'",
            'trim.step (environment variable SIDECAR_TRIM__STEP): "2" is too large; give at most 1',
            "tenant.mode (file",
        ]
        assert [a.startswith(b) for a, b in zip(sorted(found), sorted(starts), strict=True)] == [True] * 7
        assert all(sentence in str(SettingsError(found)) for sentence in found)

    def test_a_single_underscore_gets_the_right_name(self):
        assert "did you mean SIDECAR_TRIM__MAX_TURNS?" in only_mistake({}, {"SIDECAR_TRIM_MAX_TURNS": "3"})

    def test_a_name_like_no_other_gets_the_way_to_the_table(self):
        assert "see config/guides/settings.md" in only_mistake({}, {"SIDECAR_QQ": "3"})

    def test_a_key_of_a_file_that_is_not_known_gets_the_nearest_name(self, tmp_path):
        assert "key trim.max_turn: there is no such setting; did you mean trim.max_turns?" in only_mistake(
            toml="[trim]\nmax_turn = 3\n", tmp_path=tmp_path
        )

    def test_a_section_that_is_not_known_gets_the_nearest_section(self, tmp_path):
        assert only_mistake(toml='[histroy]\nmode = "off"\n', tmp_path=tmp_path).endswith(
            "key histroy: there is no such setting; did you mean history?"
        )

    def test_a_section_that_is_no_section_is_told_how_to_be_one(self, tmp_path):
        assert "write [trim]" in only_mistake(toml="trim = 3\n", tmp_path=tmp_path)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"listen = ", "is not TOML"),
            (b'listen = "\xff"', "is not UTF-8 text"),
            (None, "cannot be read (No such file or directory)"),
        ],
    )
    def test_a_file_that_cannot_be_used_is_reported_with_the_rest(self, tmp_path, content, says):
        file = tmp_path / "sidecar.toml"
        if content is not None:
            file.write_bytes(content)
        found = mistakes({}, {"SIDECAR_CONFIG": str(file), "SIDECAR_LISTEN": "nowhere"})
        assert len(found) == 2
        assert f"file {file}, named by environment variable SIDECAR_CONFIG: {says}" in found[0]

    def test_a_folder_is_no_file(self, tmp_path):
        assert "named by flag --config: cannot be read (Is a directory)" in only_mistake(
            {"config": str(tmp_path)}
        )

    def test_the_file_flag_left_empty_is_not_taken_for_none(self):
        assert "named by flag --config: cannot be read" in only_mistake({"config": ""})

    @pytest.mark.parametrize(
        ("toml", "says"),
        [
            ("[trim]\nmax_turns = true", "is a boolean where a number is needed"),
            ("[trim]\nmax_turns = 0", "0 is too small; give 1 or more"),
            ("[trim]\nmax_messages = 1.5", "1.5 is not a whole number"),
            ('[trim]\nmax_input_tokens = "8k"', '"8k" is not a whole number'),
            ("[trim]\nmax_input_tokens = 0", "0 is too small; give 1 or more"),
            ("[trim]\nmax_input_tokens = 1.5", '1.5 is not a whole number; write one, "auto" or "none"'),
            ("[trim]\nmax_input_tokens = true", "is a boolean where a number is needed"),
            ("[trim]\nanswer_share = 0.6", "0.6 is too large; give at most 0.5"),
            ("[trim]\nmodels = 3", "3 is not a list"),
            ('[trim]\nmodels = ["gpt"]', '"gpt" is not a table; write {match = "…"}'),
            ("[trim]\nstep = 0", "0 is too small; give more than 0"),
            ("[trim]\nstep = 1.01", "1.01 is too large; give at most 1"),
            ("[timeouts]\nidle = inf", "Infinity is not a finite number"),
            ("[timeouts]\nconnect = 0", "0 is too small; give more than 0"),
            ('[timeouts]\nidle = "10m"', '"10m" is not a number'),
            ("[retries]\nattempts = 0", "0 is too small"),
            ("[limits]\nmax_body = -1", "-1 is too small"),
            ('[restore]\nanswers = "perhaps"', '"perhaps" is not a boolean; write true or false'),
            ("upstream = 8080", "8080 is not text; put it in quotes"),
            ("[logs]\nlevel = 3", "3 is not one of 'debug', 'info'"),
            ('[identity]\nheaders = "X-A"', '"X-A" is not a list; write ["…", "…"]'),
            ('[identity]\nheaders = ["X A"]', "'X A' is not the name of an HTTP header"),
            ('[identity]\nmessage_id_header = "Ö"', "'Ö' is not the name of an HTTP header"),
            ('[identity]\ntemporary_prefixes = [""]', "an empty prefix matches every conversation id"),
            ('[session]\nheaders = ["content-length"]', "is a header that HTTP itself needs"),
            ('[session]\nbody_field = "messages"', "is part of every request"),
            ('[tasks]\nopenings = ["### Task:"]', "opens real turns too"),
            ('[tasks]\nopenings = ["### Task:\\n \\n"]', "opens real turns too"),
            ('[tasks]\nopenings = ["Hello"]', "is too short to identify a task"),
            ('[tasks]\nopenings = ["### Task:\\nRespond to the user query"]', "which are no tasks"),
            ("[history]\nappend_wait = 1979-05-27", '"1979-05-27"'),
            (f'[history]\nmode = "{"x" * 200}"', "x…"),
        ],
    )
    def test_a_value_that_cannot_work_is_named_with_its_cure(self, tmp_path, toml, says):
        name = re.sub(r"\[(\w+)\]\n(\w+).*|(\w+) =.*", r"\1.\2\3", toml, flags=re.DOTALL).strip(".")
        mistake = only_mistake(toml=toml, tmp_path=tmp_path)
        assert mistake.startswith(f"{name} (file {tmp_path}/sidecar.toml, key {name}): ")
        assert says in mistake

    def test_openings_in_the_environment_are_json_for_sentences_have_commas(self):
        assert "write a JSON array" in only_mistake({}, {"SIDECAR_TASKS__OPENINGS": "Name this chat, please"})
        settings = load({}, {"SIDECAR_TASKS__OPENINGS": '["Name this chat, please"]'})
        assert settings.tasks.openings == ("Name this chat, please",)

    def test_headers_that_may_be_left_out_may_be_empty(self, tmp_path):
        file = tmp_path / "sidecar.toml"
        file.write_text('[identity]\nmessage_id_header = ""\n[tasks]\nheader = ""\n')
        assert load({"config": str(file)}, {}).tasks.header == ""

    @pytest.mark.parametrize("name", ["SIDECAR_SECRET", "SIDECAR_TENANT__USER_JWT_SECRET"])
    def test_a_secret_is_long_and_in_no_text(self, name):
        assert "hunter2" not in (mistake := only_mistake({}, {name: "hunter2"}))
        assert "give 16 characters or more" in mistake
        settings = load({}, {name: "hunter2 hunter2 hunter2"})
        assert "hunter2" not in repr(settings) + str(settings) + summary(settings)
        assert "(set)" in summary(settings)

    def test_a_secret_that_is_no_text_is_not_repeated_either(self, tmp_path):
        mistake = only_mistake(toml="secret = 12345678901234567890", tmp_path=tmp_path)
        assert "the value is not text" in mistake
        assert "123" not in mistake.replace(str(tmp_path), "")

    def test_a_kind_of_error_without_words_of_its_own_speaks_pydantics(self, tmp_path):
        assert "Unable to parse input string as an integer" in only_mistake(
            toml=f'[trim]\nmax_turns = "{"9" * 5000}"', tmp_path=tmp_path
        )

    def test_settings_made_in_code_are_checked_and_frozen_too(self):
        with pytest.raises(ValidationError, match="is not HOST:PORT"):
            Settings(listen="x")
        with pytest.raises(ValidationError, match="frozen"):
            Settings().listen = "127.0.0.1:1"  # type: ignore[misc] # it is what has to fail


class TestDescriptions:
    def test_the_annotated_file_is_what_the_declaration_says(self):
        assert (ROOT / "config" / "sidecar.toml").read_text(encoding="utf-8") == template()

    def test_the_annotated_file_has_every_key_with_its_default(self, tmp_path):
        # "# " and a word is prose, "#" and anything else a setting.
        active = re.sub(r"^#(?! \S|\n)", "", template(), flags=re.MULTILINE)
        keys = {
            f"{section}.{key}" if isinstance(value, dict) else section
            for section, value in tomllib.loads(active).items()
            for key in (value if isinstance(value, dict) else [None])
        }
        assert keys == set(DECLARED)
        file = tmp_path / "sidecar.toml"
        file.write_text(active, encoding="utf-8")
        assert load({"config": str(file)}, {}) == Settings()

    def test_the_annotated_file_as_it_is_changes_nothing(self):
        assert load({"config": str(ROOT / "config" / "sidecar.toml")}, {}) == Settings()

    def test_the_table_has_a_row_for_every_setting(self):
        rows = [line.split(" | ") for line in table().splitlines()[2:]]
        assert [row[0].strip("| `") for row in rows] == list(DECLARED)
        assert [row[1].strip("`") for row in rows] == [setting.environment for setting in DECLARED.values()]
        assert rows[0][2] == '`"demo"`'
        assert all(len(row) == 4 and row[3].removesuffix(" |") for row in rows)

    def test_every_variable_of_the_table_is_read(self):
        for setting in DECLARED.values():
            found = outcome({setting.environment: "["})
            assert found != Settings()
            assert "no such setting" not in str(found)

    def test_everything_declared_is_described(self):
        assert all(setting.field.description for setting in DECLARED.values())
        sections = [field.default for field in Settings.model_fields.values()]
        assert all(section.__doc__ for section in sections if isinstance(section, BaseModel))

    def test_the_summary_shows_the_addresses_and_what_was_changed(self):
        assert summary(Settings.model_validate({"trim": {"max_turns": 3}})) == (
            'upstream = "demo"\nlisten = "127.0.0.1:8790"\n'
            'store = "sqlite:///sidecar.db"\ntrim.max_turns = 3\n'
        )
