"""Two sidecars on one PostgreSQL, and that nothing is lost or doubled when they or it are killed."""

from __future__ import annotations

import pytest

from tests.crash.replicas import Replicas

# What is tested runs in processes of its own, which the coverage does not see.
pytestmark = pytest.mark.no_cover


async def test_many_add_to_one_conversation_over_two_replicas_and_it_stays_one_line(server, tmp_path):
    replicas = Replicas(server, tmp_path, seed=3)

    summary = await replicas.run([""] * 10, alone=2, crowds=1)

    assert summary.faults == []
    assert summary.refused == 0
    (crowd,) = [line for line in await replicas.lines() if line["conversation"]["key"] == "crowd-0"]
    messages = crowd["messages"]
    assert [each["parent"] for each in messages] == [None, *(each["id"] for each in messages[:-1])]
    assert len(messages) >= 20


async def test_nothing_is_lost_or_doubled_when_a_replica_or_the_database_is_killed(mortal_server, tmp_path):
    victims = ["database", "replica", "database"]

    summary = await Replicas(mortal_server, tmp_path, seed=5).run(victims, replies=6, alone=4, crowds=1)

    assert summary.faults == []
    assert len(summary.seen) > 20
    assert "1 of replicas, 2 of the database; " in str(summary)
    assert f"acknowledged replies {len(summary.seen)}, lost 0, doubled 0, broken 0" in str(summary)
