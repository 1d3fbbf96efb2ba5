"""What a request costs is on record, and nobody makes it dearer without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guard import count

# Bytecodes are counted here, of a process of its own: the coverage learns nothing and would make it slow.
pytestmark = pytest.mark.no_cover


# The name of the test says how much it proves: another Python executes other bytecodes.
@pytest.mark.parametrize(
    "allowed",
    [pytest.param(count.allowed(), id=f"within {count.allowed():.0%} of Python {count.on_record()[0]}")],
)
async def test_no_request_takes_more_than_is_on_record_nor_less(tmp_path: Path, allowed: float):
    counted = await count.counts(tmp_path)
    assert count.differences(counted, count.on_record()[1], allowed) == []


def test_what_is_five_per_cent_away_is_told():
    _, record = count.on_record()
    dearer = {name: round(number * 1.06) for name, number in record.items()}
    cheaper = {name: round(number * 0.94) for name, number in record.items()}
    assert [len(count.differences(each, record, count.ALLOWED)) for each in (record, dearer, cheaper)] == [
        0,
        len(record),
        len(record),
    ]


def test_of_another_version_only_what_is_dearer_is_told():
    _, record = count.on_record()
    dearer = {name: round(number * 1.4) for name, number in record.items()}
    cheaper = {name: round(number * 0.4) for name, number in record.items()}
    assert [len(count.differences(each, record, 0.3)) for each in (dearer, cheaper)] == [len(record), 0]
