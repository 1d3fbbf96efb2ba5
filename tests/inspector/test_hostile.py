"""What others write is text, whatever they write, and wherever it stands."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

import sidecar.inspector
from sidecar.conversation.exchange_record import Detail, Difference, Exchange, Refusal, Sent
from sidecar.conversation.overview import Outline, Overview, Overviews, Stem
from sidecar.conversation.records import Summary
from sidecar.conversation.tree import Conversation, Node
from sidecar.errors import StoreUnavailable
from sidecar.exchange.client_request import ClientRequest, packed_request, request_of
from sidecar.inspector.client_view import client_view_of
from sidecar.inspector.conversation_list import list_of
from sidecar.inspector.conversation_page import page_of, window_of
from sidecar.inspector.diff_page import DiffPage, DiffPart
from sidecar.inspector.exchange_facts import Around
from sidecar.inspector.exchange_page import exchange_page_of
from sidecar.inspector.fork import ForkPage
from sidecar.inspector.live import OpenRequest, Told, live_page_of
from sidecar.inspector.message_page import message_page_of
from sidecar.inspector.render import as_html, as_json
from sidecar.inspector.search import Hit, SearchPage
from sidecar.inspector.settings_page import SettingRow, SettingsPage
from sidecar.inspector.shown import told
from sidecar.inspector.text import conversation_text, exchange_text
from sidecar.inspector.usage import Bar, UsageLine, UsagePage, UsageRow
from sidecar.inspector.went import groups_of
from sidecar.inspector.words import Change
from sidecar.printable import printable
from tests.inspector.test_conversation_page import opened
from tests.proxy.mock_upstream import says, sends

ROOM = Path(sidecar.inspector.__file__).parent
_VECTORS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "data:image/svg+xml;base64,PHN2Zy8+",
    'data:image/png;base64,AAAA" onerror="alert(1)',
    "https://evil.example/pixel.png",
    "//evil.example/x",
    "{{ 7 * 7 }}{% for x in y %}",
    "${alert(1)}<%= 1 %>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>*{display:none}</style>",
    "<form action=//evil.example><button>x",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<!--<script>-->",
    "&lt;script&gt;&#x3C;script&#x3E;",
    "\u202e\u2066 txt.exe",
    "\x00\x1b]8;;http://evil.example\x07\ud800",
    "<details open ontoggle=alert(1)>",
)
_SETTINGS = ("{}", '"{}', "'{}", "'>{}", '">{}', "</pre>{}", "</title>{}", "-->{}<!--")
PAYLOADS = [setting.replace("{}", vector) for vector, setting in itertools.product(_VECTORS, _SETTINGS)]
_TAGS = frozenset(
    (
        *("html", "head", "meta", "title", "link", "body", "a", "header", "nav", "span", "main", "h1", "h2"),
        *("p", "div", "table", "thead", "tbody", "tr", "th", "td", "time", "aside", "section", "ol", "li"),
        *("article", "footer", "details", "summary", "pre", "figure", "figcaption", "img", "dl", "dt", "dd"),
        *("strong", "form", "label", "input", "button", "code"),
        *("script", "svg", "g", "rect", "ul", "del", "ins", "b"),
    )
)


class Reader(HTMLParser):
    """What a browser makes of a page: its tags, and the values of attributes that lead somewhere."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.images: list[str] = []
        self.scripts: list[dict[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "script":
            self.scripts.append(dict(attrs))
            return
        for name, value in attrs:
            self.names.add(name)
            if name in ("href", "action"):
                self.links.append(value or "")
            elif name == "src":
                self.images.append(value or "")


def assert_harmless(page: bytes):
    reader = Reader()
    reader.feed(page.decode())
    assert reader.tags <= _TAGS
    for script in reader.scripts:
        assert set(script) == {"src", "defer"}
        assert re.fullmatch(r"(\.\./|\./)+inspector\.js", script["src"] or "")
    assert not {name for name in reader.names if name.startswith("on") or name in ("style", "srcdoc")}
    for link in reader.links:
        assert re.fullmatch(r"data:,|#[\w-]*|\?[\w=&.~%-]*|(\.\./|\./)*[\w./~%-]*(\?[\w=&.~%-]*)?", link), (
            link
        )
        assert not link.startswith("//")
    for image in reader.images:
        assert re.fullmatch(r"data:image/(png|jpeg|gif|webp|avif);base64,[\w+/=\s]*", image), image


def message(text, role):
    call = {"id": text, "type": "function", "function": {"name": text, "arguments": text}}
    return {
        "role": role,
        "content": [
            {"type": "text", "text": text},
            {"type": "image_url", "image_url": {"url": text}},
            {"type": text, text: text},
            text,
            None,
        ],
        "reasoning_content": text,
        "tool_calls": [call, text, {"function": text}],
        "tool_call_id": text,
        "name": text,
        "unknown": {text: text},
    }


def exchange(text, id, parent, reply):
    detail = Detail(
        client_key=text,
        replies=(reply,),
        answered_by=text,
        target=text,
        member=text,
        api=text,
        finish=text,
        summary=parent[:16],
        difference=Difference(3, text),
        sent=Sent("whole", parent, ((reply, text),)),
        quoted=(parent,),
        refusal=Refusal(1, 2),
        supplied=(text,),
        left_out=(text,),
        silent_cut=True,
        degraded=True,
    )
    return Exchange(b"e" * 10, id, parent, text, text, 200, 1, 1, 1, text, detail)


def client_of(text):
    """A request as its client sent it, with this text in its body, its headers, its path and its refusal."""
    encoded = text.encode("utf-8", "replace")
    encoded_text = encoded.decode()
    head = ClientRequest(encoded_text, ((encoded_text, encoded_text),), refusal=encoded_text)
    return client_view_of(request_of(packed_request(head, encoded, 1 << 20)), "00", "http://127.0.0.1")


def pages(text):
    """Every page, with this text wherever somebody else's may stand."""
    encoded = text.encode("utf-8", "replace").decode()  # half a character comes from no JSON that we read
    body = msgspec.json.encode(message(encoded, "assistant"))
    first, second = b"1" * 24, b"2" * 24
    nodes = {
        id: Node(id, parent, b"", b"", text, body, "upstream", "complete", 1.0, text, text, None, text)
        for id, parent in ((first, None), (second, first))
    }
    stems = tuple(
        Stem(id, node.parent, text, "upstream", "partial", 1.0, text, text, len(body))
        for id, node in nodes.items()
    )
    about = Conversation(encoded, b"t", text, 1.0, 2.0)
    done = exchange(text, encoded, first, second)
    outline = Outline(about, stems)
    window = window_of(outline, None, None)
    listed = Overview(encoded, b"t", text, 1.0, 1.0, 2, 1, 1, 1, nodes[first], len(body), done)
    failed = msgspec.structs.replace(done, detail=Detail())
    root = "../../"
    yield "conversations.html", root, list_of(Overviews(60, (listed,) * 50), None)
    yield "conversation.html", root, page_of(about, window, nodes, {}, [done, failed], body)
    yield "conversation.html", root, page_of(about, window, {}, {first: text}, [done], None)
    yield "message.html", root, message_page_of(encoded, stems[1], 2, nodes[second], 1)
    row = list_of(Overviews(1, (listed,)), None).rows[0]
    found = SearchPage(
        told(text, 500), (told(text),), 9, 3, 1, 1, 1.0, 1.0, f"1.0~{encoded}", (Hit(row, "00", told(text)),)
    )
    yield "search.html", root, found
    asked = OpenRequest(
        encoded, told(text), False, told(text), told(text), told(text), 1.0, *(1,) * 4, "-", 1
    )
    yield "live.html", root, live_page_of([Told(3, (asked,)), None])
    yield "fork.html", root, ForkPage(encoded, told(text), "00", 2, told(text), "client")
    changes = tuple(Change(kind, told(text)) for kind in ("same", "out", "in", told(text)))
    part = DiffPart(told(text), told(text), "00", "11", changes, True)
    yield "diff.html", root, DiffPage(encoded, "00", "11", told(text), "", (part,))
    line = UsageLine(told(text), 3, 1, 0, 9, 4, 5)
    bars = (Bar(told(text), 0, 1.0, 2.0, 3.0),)
    spent = UsageRow(told(text), told(text), told(text), told(text), line)
    usage = UsagePage(
        *(1, "2026-01-01", "2026-01-01", False, 1.0, 1, line, *((line,),) * 4),
        *({told(text): told(text)}, (spent,), bars, 9),
    )
    yield "usage.html", root, usage
    shown = told(text)
    setting = SettingRow(shown, shown, shown, shown, shown, False)
    yield "settings.html", root, SettingsPage((setting,))
    for each in (done, failed):
        groups = groups_of(each, stems)
        summary = Summary(b"s", text, text, 1.0)
        around = Around(client=client_of(text), no_client=told(text))
        yield "exchange.html", root, exchange_page_of(each, done, stems, groups, nodes, summary, around)


#: There is no other, and nothing stands in it.
_OUR_SCRIPT = '<script src="{{ root }}inspector.js" defer></script>'


def test_there_are_two_hundred_of_them():
    assert len(set(PAYLOADS)) == 200


@pytest.mark.parametrize("vector", range(len(_VECTORS)))
def test_whatever_others_write_is_text(vector):
    for text in PAYLOADS[vector * len(_SETTINGS) : (vector + 1) * len(_SETTINGS)]:
        for template, root, page in pages(text):
            assert_harmless(as_html(template, root, page=page, every=None, is_new=True))
            assert set(json.loads(as_json(page))) == set(page.__struct_fields__)
        assert_harmless(as_html("error.html", "./", error=StoreUnavailable(text)))


#: What steers a terminal: clears it, writes its title, types on its keyboard, hides or turns what is written.
_STEERING = (
    *("\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x1b]52;c;aGk=\x1b\\", "\x1bP$q\x1b\\", "\x1b[6n", "\x1bc"),
    *("\x9b31m", "\x9d0;x\x9c", "\r\x1b[K overwritten", "a\bb", "\x0e\x0f", "\x85\u2028\u2029"),
    *("\u202e\u2066", "\x7f", "\ufeff"),
)


@pytest.mark.parametrize("some", range(5))
def test_in_a_terminal_it_is_text_as_well(some):
    for text in (*PAYLOADS, *_STEERING)[some::5]:
        said = ""
        for template, _root, page in pages(text):
            if template == "conversation.html":
                said += conversation_text(page)
            if template == "exchange.html":
                said += exchange_text(page)
            said += as_json(page).decode()
        assert said == printable(said, lines=True), text


async def test_what_is_stored_steers_no_terminal(visitor, upstream, tmp_path):
    for number, text in enumerate(_STEERING):
        encoded = text.encode("utf-8", "replace").decode()
        upstream.will(says(encoded, reasoning_content=encoded, model=encoded, finish=encoded))
        await visitor.sidecar.ask(encoded, id="a" if number else "b", model=encoded)
        upstream.will(
            sends(json.dumps({"error": {"code": encoded, "message": encoded}}).encode(), status=400)
        )
        await visitor.sidecar.ask(encoded, encoded, encoded, id="a", model=encoded)
    store = f"--store=sqlite:///{tmp_path}/sidecar.db"
    chat = await opened(visitor, "a")
    named = (await visitor.get(f"{chat}export.jsonl")).json["exchanges"]
    for arguments in (["a"], *(["a", "--exchange", each["id"]] for each in named)):
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar", "inspect", store, *arguments), stdout=asyncio.subprocess.PIPE
        )
        told, _ = await asyncio.wait_for(done.communicate(), 60)
        assert done.returncode == 0
        assert told.decode() == printable(told.decode(), lines=True)
        assert len(told) > 200


def test_an_image_is_shown_if_it_is_one():
    image = "data:image/png;base64,iVBORw0KGgo="
    (_, _, page), *_ = (each for each in pages(image) if each[0] == "conversation.html")
    html = as_html("conversation.html", "./", page=page, is_new=False).decode()
    assert f'<img src="{image}"' in html
    assert_harmless(html.encode())


def test_no_template_marks_a_text_as_safe_or_holds_a_script():
    files = [*(ROOM / "templates").glob("*.html")]
    assert len(files) >= 6
    for file in files:
        text = file.read_text("utf-8").replace(_OUR_SCRIPT, "")
        assert not re.search(
            r"\|\s*safe\b|Markup|autoescape|<script|<style|\bstyle=|\bon\w+=|javascript:", text
        )
        assert not re.search(r"https?://", text)
    for file in ROOM.rglob("*.py"):
        assert not re.search(r"\bMarkup\b|autoescape=False|mark_safe", file.read_text("utf-8"))
    script = (ROOM / "static" / "inspector.js").read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function|https?:", script)
    css = (ROOM / "static" / "inspector.css").read_text("utf-8")
    assert not re.search(r"url\(|@import|expression", css)
