"""Which member of a target a chat goes to, and when a member is left alone: rules without a socket."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidecar.upstream.choice import bound, by_hash, in_order
from sidecar.upstream.health import Health
from sidecar.upstream.pool import Pool
from sidecar.upstream.router import Router

NAMES = st.lists(st.text("abcdef:/.0123456789", min_size=1, max_size=12), min_size=1, max_size=6, unique=True)
SESSIONS = st.text(min_size=1, max_size=30)


class TestTheHash:
    @given(SESSIONS, NAMES, st.randoms())
    def test_every_sidecar_prefers_the_same_whatever_order_it_knows_them_in(self, session, names, random):
        shuffled = names[:]
        random.shuffle(shuffled)
        assert by_hash(session, shuffled) == by_hash(session, names)

    @given(SESSIONS, NAMES)
    def test_a_member_that_leaves_moves_its_own_chats_alone(self, session, names):
        first, *rest = by_hash(session, names)
        for gone in names:
            left = by_hash(session, [each for each in names if each != gone])
            assert left == [each for each in (first, *rest) if each != gone]

    def test_chats_are_spread_evenly(self):
        counts = Counter(by_hash(f"conv_{at}", ("a", "b", "c", "d"))[0] for at in range(4000))
        assert all(900 < count < 1100 for count in counts.values())

    def test_it_is_written_down_for_all_versions(self):
        order = by_hash("conv_1", ("http://a/v1", "http://b/v1", "http://c/v1"))
        assert order == ["http://b/v1", "http://c/v1", "http://a/v1"]


class TestTheLoad:
    @given(SESSIONS, st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1))
    def test_the_first_by_hash_that_is_not_too_busy_gets_it(self, session, loads):
        most = bound(sum(loads.values()), len(loads))
        order = in_order(session, loads)
        assert sorted(order) == sorted(loads)
        fitting = [each for each in by_hash(session, list(loads)) if loads[each] < most]
        assert fitting
        assert order[: len(fitting)] == fitting

    @given(st.integers(1, 6), st.integers(1, 200))
    def test_nobody_gets_much_more_than_the_mean(self, members, requests):
        """However unevenly chats ask: here it is one alone."""
        loads = dict.fromkeys("abcdef"[:members], 0)
        for _ in range(requests):
            loads[in_order("one chat", loads)[0]] += 1
        assert max(loads.values()) <= max(2, 1.25 * requests / members + 1)

    @given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1))
    def test_what_belongs_to_no_chat_goes_to_who_has_least_to_do(self, loads):
        assert loads[in_order(None, loads)[0]] == min(loads.values())

    def test_two_requests_at_a_time_are_no_reason_to_leave_a_cache(self):
        loads = {"a": 0, "b": 0, "c": 0}
        (home, second, _) = by_hash("conv_1", list(loads))
        assert in_order("conv_1", {**loads, home: 1})[0] == home
        assert in_order("conv_1", {**loads, home: 2})[0] == second

    def test_where_it_is_known_how_many_are_answered_at_once_a_chat_stays_while_there_is_room(self):
        loads = {"a": 0, "b": 0, "c": 0}
        (home, second, third) = by_hash("conv_1", list(loads))
        for under_way in range(4):
            assert in_order("conv_1", {**loads, home: under_way}, 4) == [home, second, third]
        assert in_order("conv_1", {**loads, home: 4}, 4) == [second, third, home]
        assert in_order("conv_1", {home: 4, second: 4, third: 3}, 4) == [third, home, second]

    @given(SESSIONS, st.dictionaries(st.sampled_from("abcdef"), st.integers(4, 50), min_size=1))
    def test_where_none_has_room_they_share_the_load_as_if_it_were_not_known(self, session, loads):
        assert in_order(session, loads, 4) == in_order(session, loads)


class TestHealth:
    def test_three_failures_within_half_a_minute_take_it_out(self):
        health = Health()
        assert [health.failed(at) for at in (0.0, 10.0, 29.0)] == [False, False, True]
        assert health.out_until == 39.0

    def test_three_failures_over_a_longer_time_do_not(self):
        health = Health()
        assert [health.failed(at) for at in (0.0, 20.0, 31.0, 52.0)] == [False] * 4

    def test_an_answer_makes_earlier_failures_forgotten(self):
        health = Health()
        health.failed(0.0)
        health.failed(1.0)
        health.answered()
        assert not health.failed(2.0)
        assert not health.is_out

    def test_it_is_out_for_twice_as_long_each_time_up_to_five_minutes(self):
        health, now, periods = Health(), 0.0, []
        for _ in range(3):
            health.failed(now)
        for _ in range(7):
            assert health.out_until is not None
            periods.append(health.out_until - now)
            now = health.out_until
            health.probed(now, is_well=False)
        assert periods == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]

    def test_a_probe_lets_it_back_and_an_answer_to_a_client_clears_what_was(self):
        health = Health()
        for _ in range(3):
            health.failed(0.0)
        health.probed(10.0, is_well=True)
        assert not health.is_out
        for _ in range(3):
            health.failed(11.0)
        assert health.out_until == 31.0  # it had not served anybody since
        health.probed(31.0, is_well=True)
        health.answered()
        for _ in range(3):
            health.failed(40.0)
        assert health.out_until == 50.0

    def test_who_serves_though_it_is_out_is_back(self):
        health = Health()
        for _ in range(3):
            health.failed(0.0)
        assert not health.failed(1.0)
        health.answered()
        assert not health.is_out


def test_names_of_models_without_end_take_no_room_without_end():
    router = Router(Pool("default", None, is_agent=False), ())
    for at in range(3000):
        assert router.pools_of(f"model-{at}") == (router.default,)
    router.pools_of("x" * 10_000)
    assert len(router._of_models) == 1000
    assert max(map(len, router._of_models)) <= 200
