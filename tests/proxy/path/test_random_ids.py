"""Ids cannot be guessed, and no two of them are the same."""

from __future__ import annotations

import os

from sidecar.random_ids import token


def test_no_two_are_the_same_across_many_pages():
    taken = [token(8) for _ in range(5000)] + [token(16) for _ in range(5000)]
    assert len(set(taken)) == 10_000
    assert {len(each) for each in taken} == {8, 16}


def test_a_forked_process_goes_on_with_others():
    token(8)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, token(8))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 8) != token(8)
    os.close(reading)
    os.close(writing)
