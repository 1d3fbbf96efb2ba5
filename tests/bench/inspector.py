"""How soon the inspector's pages are there, and what those who look cost those who chat.

`pages`: the list of many conversations, a conversation of ten thousand messages, the words in which a request
of 400 kB differs from the one before, and words looked for in many messages by the index: milliseconds until
the whole page has come, over a connection that is kept. `viewers`: the chunks of twenty streams while ten
people look on, whose browsers load what is live every second and the list every three, as its pages do, and
who open a long conversation every five.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import aiohttp

from sidecar.conversation.exchange_record import exchange_id
from sidecar.store import Store, make_store
from tests.bench.filled import fill
from tests.bench.scenes import table
from tests.bench.speed import native
from tests.bench.speed.bodies import short
from tests.proxy.process import serving
from tests.store.trees import chat, exchange, question, reply, talk, update

__all__ = ["main"]

_WARM = 3  # looks that are not counted
_WORDS = 30_000  # the second is used half as often as the first, as in any language
_LONG, _SAID = 200, 100  # messages of a conversation that is searched, words of a message
_LATE = 2_000_000_000_000  # Unix milliseconds, behind those of all other conversations
_VIEWERS, _STREAMS, _CHUNKS, _GAP = 10, 20, 400, 20
_HEADERS = ("Accept: */*", "X-Conversation-ID: {chat}")


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench inspector", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000, help="that are searched")
    parser.add_argument("--looks", type=int, default=40, help="at each page, of which the median is taken")
    parser.add_argument("--rounds", type=int, default=5, help="of the streams, with viewers and without")
    parser.add_argument("--only", choices=("pages", "viewers", "search"))
    given = parser.parse_args(arguments)
    if given.only in (None, "pages"):
        _tell(await _pages(folder, given.conversations, given.looks))
    if given.only in (None, "viewers"):
        await _viewers(folder, given.rounds)
    if given.only in (None, "search"):
        _tell(await _searched(folder, given.messages, given.looks))


def _tell(rows: list[list[str]]) -> None:
    print(f"\n{table(['page', 'median', 'p95', 'longest', 'size'], rows)}\n", flush=True)


async def _pages(folder: Path, conversations: int, looks: int) -> list[list[str]]:
    file = folder / "pages.db"
    await fill(file, conversations)
    async with _store(file) as store:
        long = await _long(store)
        newer = await _large(store)
    async with _inspector(file, "http://127.0.0.1:9/v1", folder) as (_url, root), _http() as http:
        return [
            await _row(http, f"list of {conversations + 2:,} conversations", looks, [root]),
            await _row(http, "conversation of 10,000 messages", looks, [f"{root}c/{long}/"]),
            await _row(http, "differences of a request of 400 kB", looks, [f"{root}c/{newer}/diff"]),
        ]


async def _searched(folder: Path, messages: int, looks: int) -> list[list[str]]:
    file = folder / "searched.db"
    chance = random.Random(1)
    words = [_word(at) for at in range(_WORDS)]
    often = [1 / (at + 1) for at in range(_WORDS)]
    begun = time.monotonic()
    async with _store(file) as store:
        for number in range(messages // _LONG):
            said = chance.choices(words, often, k=_LONG * _SAID)
            nodes = chat(*(" ".join(said[at : at + _SAID]) for at in range(0, len(said), _SAID)))
            await store.record(update(talk(f"conv_{number}", at=number, tip=nodes[-1].id), *nodes))
        print(f"{messages:,} messages written in {time.monotonic() - begun:.0f} s", flush=True)
        begun = time.monotonic()
        while await store.index_more():
            pass
        print(f"and indexed in {time.monotonic() - begun:.0f} s", flush=True)
    asked = [words[chance.randrange(10, _WORDS)] for _ in range(looks)]
    asked += [f"{_word(chance.randrange(100))}+{_word(chance.randrange(5_000))}" for _ in range(looks)]
    settings = {"SIDECAR_SEARCH__INDEX": "true"}
    async with _inspector(file, "http://127.0.0.1:9/v1", folder, **settings) as (_url, root), _http() as http:
        urls = [f"{root}search?q={words}" for words in asked]
        row = await _row(http, f"search in {messages:,} messages", len(urls), urls)
    file.unlink()
    return [row]


async def _viewers(folder: Path, rounds: int) -> None:
    """The chunks of streams without viewers and with them, in turn."""
    try:
        await native.compiled(folder)
    except native.CannotMeasure as error:
        print(f"The streams are not measured: {error}")
        return
    generator, file, seen = native.Generator(folder), folder / "viewed.db", dict[bool, list[list[float]]]()
    async with _store(file) as store:
        long = await _long(store)
    async with AsyncExitStack() as stack:
        upstream, _pid = await stack.enter_async_context(native.upstream(folder))
        at = _inspector(file, f"http://127.0.0.1:{upstream}/v1", folder)
        url, root = await stack.enter_async_context(at)
        http = await stack.enter_async_context(_http())
        for _ in range(rounds):
            for is_watched in (False, True):
                looking = [asyncio.create_task(_look_on(http, root, long)) for _ in range(_VIEWERS)]
                if not is_watched:
                    await _ended(looking)
                load = await _streamed(generator, int(url.rpartition(":")[2]))
                await _ended(looking)
                assert load.latency is not None, load.reason
                seen.setdefault(is_watched, []).append([each / 1000 for each in load.latency])
    rows = []
    for is_watched, times in seen.items():
        cells = [f"{median(column):.2f} ms" for column in zip(*times, strict=True)]
        rows.append([f"{_VIEWERS} viewers" if is_watched else "nobody looks", *cells])
    head = [f"{_STREAMS} streams, a chunk each {_GAP} ms, behind the upstream's", "median", "p99", "longest"]
    print(f"{table(head, rows)}\nThe medians of {rounds} rounds.")


async def _streamed(generator: native.Generator, port: int) -> native.Load:
    model = f"mock-{_CHUNKS}-{_GAP}"
    script = b"".join(line + b"\n" for line in short(model, 0))
    load = await generator.run(
        port,
        script,
        run=generator.new_run(),
        chats=_STREAMS,
        turns=(0, 0),
        connections=_STREAMS,
        chunks=_CHUNKS,
        seconds=60,
        ramp=_GAP,
        is_new_each=False,
        headers=_HEADERS,
    )
    assert not load.failed, load.reason
    return load


async def _look_on(http: aiohttp.ClientSession, root: str, long: str) -> None:
    """As a browser does, whose script says which list it has."""
    await asyncio.sleep(random.random())
    tag = ""
    for at in range(1000):
        await _seen(http, f"{root}live")
        if at % 3 == 0:
            async with http.get(root, headers={"If-None-Match": tag} if tag else {}) as response:
                await response.read()
                if response.status not in (200, 304):
                    raise RuntimeError(f"the list: {response.status}")
                tag = response.headers.get("ETag", "")
        if at % 5 == 0:
            await _seen(http, f"{root}c/{long}/")
        await asyncio.sleep(1)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, asyncio.CancelledError):
            raise RuntimeError("a page failed") from result


async def _row(http: aiohttp.ClientSession, name: str, looks: int, urls: Sequence[str]) -> list[str]:
    spent, size = [], 0
    for at in range(looks + _WARM):
        begun = time.perf_counter()
        size = max(size, await _seen(http, urls[at % len(urls)]))
        if at >= _WARM:
            spent.append(1000 * (time.perf_counter() - begun))
    times = (median(spent), quantiles(spent, n=20)[-1], max(spent))
    return [name, *(f"{each:.0f} ms" for each in times), f"{size / 1000:.0f} kB"]


async def _seen(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as response:
        body = await response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {body[:2000].decode(errors='replace')}")
        return len(body)


async def _long(store: Store) -> str:
    """Ten thousand messages, with an exchange for each answer."""
    under = None
    for first in range(0, 5000, 250):
        for at in range(first, first + 250):
            ask = question(f"Question {at}: what of the harbour, and of the ships that lie in it?", under)
            under = reply(f"Answer {at}. " + "It is wide and deep. " * 20, ask)
            done = exchange("conv_long", ask, under, at=_LATE + at, output_tokens=9)
            within = talk("conv_long", at=_LATE / 1000, tip=under.id)
            await store.record(update(within, ask, under, exchange=done))
    return "conv_long"


async def _large(store: Store) -> str:
    """A chat of 400 kB, and one word of an early message another in its last request."""
    nodes = chat(*(f"{at}: {'so it is, and was ' * 110}" for at in range(200)))
    for first, edited in ((_LATE, nodes), (_LATE + 1, chat(*_edited()))):
        ask = question(f"And then? {'so it is, and was ' * 110}", edited[-1])
        answer = reply("It is as it was.", ask)
        done = exchange("conv_large", ask, answer, at=first)
        told = update(talk("conv_large", at=first / 1000, tip=answer.id), *edited, ask, answer, exchange=done)
        await store.record(told)
    return f"conv_large/x/{exchange_id(_LATE + 1, b'same').hex()}"


def _edited() -> list[str]:
    texts = [f"{at}: {'so it is, and was ' * 110}" for at in range(200)]
    texts[20] = texts[20].replace("was", "will be", 1)
    return texts


def _word(at: int) -> str:
    """No two are alike, and they begin in many ways."""
    letters = ""
    number = at * 7919 + 12345
    while number:
        number, one = divmod(number, 100)
        letters += "bcdfghklmnprstvwzjxq"[one // 5] + "aeiou"[one % 5]
    return letters


@asynccontextmanager
async def _store(file: Path) -> AsyncIterator[Store]:
    store = make_store(str(file))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _inspector(
    file: Path, upstream: str, folder: Path, **settings: str
) -> AsyncIterator[tuple[str, str]]:
    """A sidecar in a process of its own: its address, and that of its inspector."""
    environment = {"SIDECAR_STORE": f"sqlite:///{file}", "SIDECAR_ADMIN__LISTEN": "127.0.0.1:0", **settings}
    async with serving("--upstream", upstream, folder=folder, **environment) as process:
        assert process.running.stdout is not None
        line = (await asyncio.wait_for(process.running.stdout.readline(), 20)).decode()
        found = re.search(r"http://\S+/-/inspect/\S+", process.ready + line)
        assert found is not None, line
        yield process.url, found[0]


def _http() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
