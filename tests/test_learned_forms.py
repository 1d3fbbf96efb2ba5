"""What refusals teach of the form that an upstream takes: for whom it counts, and for how long."""

from __future__ import annotations

import pytest

from sidecar.background import learned_forms
from sidecar.background.learned_forms import LearnedForms, Place
from sidecar.prompt.form import AS_USUAL, Form

NO_REASONING = Form(without=frozenset({"reasoning"}))
REASONING = Form(supplied=frozenset({"reasoning"}))
AS_SENT = Form(as_sent=True)
STRIPPED = Form(stripped=frozenset({"reasoning"}))


def place(conversation: str = "c", tenant: bytes = b"t", model: str = "m", target: str = "default") -> Place:
    return Place(tenant, conversation, model, target)


class Clock:
    now = 1e6

    def __call__(self) -> float:
        return self.now


def test_a_conversation_knows_at_once_and_no_other_does():
    forms = LearnedForms()
    assert LearnedForms().is_empty
    forms.learn(place(), NO_REASONING)
    assert not forms.is_empty
    assert forms.of(place()) == NO_REASONING
    for other in (place("d"), place(model="n"), place(target="other")):
        assert forms.of(other) is AS_USUAL


@pytest.mark.parametrize("form", [NO_REASONING, REASONING, AS_SENT])
def test_two_conversations_teach_their_tenant(form: Form):
    forms = LearnedForms()
    for conversation in ("c", "c", "d"):
        assert forms.of(place("e")) is AS_USUAL
        forms.learn(place(conversation), form)
    assert forms.of(place("e")) == form
    assert forms.of(place("e", tenant=b"u")) is AS_USUAL
    assert forms.of(place("e", model="n")) is AS_USUAL


def test_what_a_client_itself_sends_back_is_stripped_in_its_own_conversation_alone():
    forms = LearnedForms()
    for conversation in ("c", "d"):
        forms.learn(place(conversation), STRIPPED)
    assert forms.of(place("c")) == STRIPPED
    assert forms.of(place("e")) is AS_USUAL
    restarted = LearnedForms()
    restarted.merge(forms.dump())
    assert restarted.of(place("c")) == STRIPPED


def test_two_tenants_teach_all_of_them_but_never_to_add_nothing_at_all():
    forms = LearnedForms()
    for tenant in (b"t", b"u"):
        assert forms.of(place("e", b"v")) is AS_USUAL
        forms.learn(place("c", tenant), Form(frozenset({"signature"}), frozenset({"name"}), as_sent=True))
    assert forms.of(place("e", b"v")) == Form(frozenset({"signature"}), frozenset({"name"}))


def test_what_the_conversation_knows_itself_counts_before_what_others_say():
    forms = LearnedForms()
    for conversation in ("c", "d"):
        forms.learn(place(conversation), NO_REASONING)
    forms.learn(place("e"), REASONING)
    assert forms.of(place("e")) == REASONING


def test_one_success_with_the_field_clears_what_others_have_learned_against_it():
    forms = LearnedForms()
    forms.learn(place("c"), NO_REASONING)
    assert forms.is_doubted(place("x"))
    assert forms.is_doubted(place("x", b"another tenant"))
    forms.taken(place("x"), ["reasoning"])
    assert not forms.is_doubted(place("x"))
    forms.learn(place("d"), NO_REASONING)
    assert forms.of(place("e")) is AS_USUAL
    assert forms.of(place("c")) == NO_REASONING
    forms.learn(place("f"), REASONING)
    forms.taken(place("x"), ["reasoning"])
    assert forms.is_doubted(place("x"))  # what is demanded stays


def test_after_a_day_it_is_tried_anew():
    clock = Clock()
    forms = LearnedForms(clock)
    for conversation in ("c", "d"):
        forms.learn(place(conversation), NO_REASONING)
    clock.now += 86_399
    assert forms.of(place("c")) == forms.of(place("e")) == NO_REASONING
    clock.now += 2
    assert forms.of(place("c")) == forms.of(place("e")) == AS_USUAL


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(learned_forms, "_MAX_CONVERSATIONS", 10)
    monkeypatch.setattr(learned_forms, "_MAX_VOTES", 10)
    forms = LearnedForms()
    for number in range(50):
        forms.learn(place(f"c{number}", b"t%d" % number, f"m{number}"), NO_REASONING)
    known = [
        number for number in range(50) if forms.of(place(f"c{number}", b"t%d" % number, f"m{number}")).without
    ]
    assert known == list(range(40, 50))
    assert len(forms._votes.kept) == 10
    forms.learn(place(model="m" * 257), NO_REASONING)
    assert forms.of(place(model="m" * 257)) is AS_USUAL


def test_what_one_process_has_learned_another_takes_over():
    clock = Clock()
    here, there = LearnedForms(clock), LearnedForms(clock)
    here.learn(place("c"), NO_REASONING)
    there.learn(place("d"), NO_REASONING)
    there.merge(here.dump())
    assert there.of(place("c")) == there.of(place("e")) == NO_REASONING
    assert here.of(place("e")) is AS_USUAL
    assert b"default" not in here.dump()


def test_what_was_cleared_stays_so_when_others_tell_of_it_and_what_was_learned_since_counts():
    clock = Clock()
    here, there = LearnedForms(clock), LearnedForms(clock)
    for conversation in ("c", "d"):
        here.learn(place(conversation), NO_REASONING)
    there.merge(here.dump())
    clock.now += 1
    assert there.taken(place("x"), ["reasoning"])
    assert not there.taken(place("x"), ["reasoning"])
    there.merge(here.dump())
    assert there.of(place("e")) is AS_USUAL
    here.merge(there.dump())
    assert here.of(place("e")) is AS_USUAL
    clock.now += 1
    for conversation in ("c", "d"):
        here.learn(place(conversation), NO_REASONING)
    here.merge(there.dump())
    assert here.of(place("e")) == NO_REASONING


def test_what_is_kept_of_it_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(learned_forms, "_MAX_SHARED", 10)
    forms = LearnedForms()
    for number in range(200):
        forms.learn(place(f"c{number}", b"t%d" % number, f"m{number}"), NO_REASONING)
    assert len(forms.dump()) < 4000
    again = LearnedForms()
    again.merge(forms.dump())
    assert again.of(place("c199", b"t199", "m199")) == NO_REASONING


@pytest.mark.parametrize("told", [b"", b"{}", b'[["odd"]]', b"[1]"])
def test_what_is_none_of_it_is_refused(told: bytes):
    with pytest.raises(ValueError, match=r"JSON|Expected|truncated"):
        LearnedForms().merge(told)
