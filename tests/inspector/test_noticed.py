"""What is worth a look in an exchange, beside the one before it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Difference
from sidecar.conversation.reconcile import Outcome
from sidecar.inspector.noticed import noticed
from tests.inspector.conftest import Visitor
from tests.inspector.test_conversation_page import opened
from tests.proxy.mock_upstream import Upstream, says
from tests.store.trees import exchange


def made(**about):
    return exchange("conv_1", None, detail=Detail(**about))


@pytest.mark.parametrize(
    ("before", "now", "notes"),
    [
        (made(), made(), ()),
        (made(), replace(made(), model="other"), ("another model",)),
        (made(tools=b"t"), made(), ("no tools any more",)),
        (made(), made(tools=b"t"), ("tools came",)),
        (made(tools=b"t"), made(tools=b"u"), ("other tools",)),
        (made(system=b"s"), made(system=b"z"), ("another system prompt",)),
        (
            replace(made(), input_tokens=900),
            made(difference=Difference(1, "grown"), cached_tokens=0),
            ("cache lost",),
        ),
        (
            replace(made(), input_tokens=900),
            made(difference=Difference(1, "grown"), cached_tokens=450),
            (),
        ),
    ],
)
def test_what_is_other_than_before_is_told(before, now, notes):
    assert noticed(now, before) == notes


async def test_marks_stand_beside_the_answers_of_a_chat_that_is_called_by_its_opening_words(
    visitor: Visitor, upstream: Upstream
):
    upstream.will(says("Hello."), says("Yes."))
    await visitor.sidecar.ask("Is <b>it</b> open?", id="a")
    await visitor.sidecar.ask("Is <b>it</b> open?", "Hello.", "So?", id="a", model="other")
    path = await opened(visitor, "a")
    page = await visitor.value(path)
    assert [each["notes"] for each in page["entries"]] == [[], [], [], ["another model"]]
    assert page["words"] == "Is <b>it</b> open?"
    html = (await visitor.get(path)).text
    assert "<title>Is &lt;b&gt;it&lt;/b&gt; open? - sidecar</title>" in html
    assert '<h1 dir="auto">Is &lt;b&gt;it&lt;/b&gt; open?</h1>' in html
    assert '<span class="did">another model</span>' in html
    assert 'title="goes on where the stored history ends"' in html
    for outcome in Outcome:
        assert f"<dt>{outcome.value}</dt>" in html
