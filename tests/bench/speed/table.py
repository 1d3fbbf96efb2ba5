"""The table: medians over the rounds, with the smallest and the largest where it matters."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from tests.bench.speed.measure import Sample
from tests.bench.speed.native import Times
from tests.bench.speed.works import Work

__all__ = ["DIRECT", "Samples", "lines"]

#: By the row's name, one for each round.
Samples = Mapping[str, Sequence[Sample]]

#: The row without a program between: what the others are compared with.
DIRECT = "direct"
#: Rows of the sidecar with other settings.
_VARIANTS = ("with ", "traced ")
_HEAD = (
    "",
    "CPU µs",
    "x nothing",
    "x nginx",
    "x sidecar",
    "+ TTFT ms",
    "+ chunk ms",
    "per second",
    "disk kB",
    "RSS MB",
)


def lines(work: Work, samples: Samples) -> list[str]:
    """One work's part of the table."""
    rows = [_HEAD, *(_row(work, name, samples) for name in samples)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    told = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    others = statistics.median(each.others for name, own in samples.items() if name != DIRECT for each in own)
    title = f"{work.name}: {work.what}, per {work.unit} (others took {others:.0%} of the core)"
    told += _asked_beside(samples)
    wrong = [f"   ! {name}: {each.wrong}" for name in samples for each in samples[name] if each.wrong]
    return [title, *told, *wrong, ""]


def _row(work: Work, name: str, samples: Samples) -> tuple[str, ...]:
    own = samples[name]
    return (
        name,
        _spread([each.cost for each in own], "{:.1f}"),
        _ratio(name, "nothing", samples),
        _ratio(name, "nginx", samples),
        _ratio(name, "sidecar", samples) if name.startswith(_VARIANTS) else "-",
        _added(name, samples, lambda each: each.first),
        _added(name, samples, lambda each: each.latency),
        _spread([each.rate for each in own], "{:,.0f}"),
        f"{statistics.median(each.written for each in own) / 1000:.1f}" if name != DIRECT else "-",
        _memory(work, own) if name != DIRECT else "-",
    )


def _spread(values: Sequence[float], form: str) -> str:
    """`median (smallest-largest)`."""
    middle = form.format(statistics.median(values))
    low, high = form.format(min(values)), form.format(max(values))
    return middle if low == high else f"{middle} ({low}-{high})"


def _ratio(name: str, other: str, samples: Samples) -> str:
    """Within each round, since the rounds differ by what else the machine does."""
    if other not in samples or name in (DIRECT, other):
        return "-"
    pairs = zip(samples[name], samples[other], strict=True)
    return _spread([own.cost / against.cost for own, against in pairs if against.cost], "{:.2f}")


def _asked_beside(samples: Samples) -> list[str]:
    """What was asked beside the work, and how late its chunks were at worst: in milliseconds, as they are."""
    lines = []
    for name, own in samples.items():
        beside = [each.beside for each in own if each.beside]
        latest = [each.latency[2] for each in own if each.latency]
        if beside and latest:
            longest, middle, late = (
                statistics.median(values) / 1000
                for values in ([each[2] for each in beside], [each[0] for each in beside], latest)
            )
            lines.append(
                f"   {name}: what was asked beside it took {middle:.0f} ms, at most {longest:.0f};"
                f" the latest chunk came after {late:.0f} ms"
            )
    return lines


def _added(name: str, samples: Samples, of: Callable[[Sample], Times | None]) -> str:
    """`median/99th percentile`, less those of the direct row in the same round; of that row as they are."""
    differences = []
    for own, direct in zip(samples[name], samples[DIRECT], strict=True):
        mine, least = of(own), of(direct)
        if mine is None or least is None:
            return "-"
        differences.append(mine if name == DIRECT else (mine[0] - least[0], mine[1] - least[1]))
    return "/".join(f"{statistics.median(each[at] for each in differences) / 1000:.2f}" for at in (0, 1))


def _memory(work: Work, own: Sequence[Sample]) -> str:
    peak = f"{statistics.median(each.peak for each in own) / 1e6:.0f}"
    if not work.is_about_memory:
        return peak
    each_stream = [(sample.peak - sample.idle) / sample.open / 1000 for sample in own if sample.open]
    idle = statistics.median(sample.idle for sample in own) / 1e6
    return f"{peak}, idle {idle:.0f}, per stream {_spread(each_stream, '{:.1f}')} kB"
