"""What all requests share. Made once at the start, handed to every room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import copy

from aiohttp import web

from sidecar.access.known_keys import KnownKeys
from sidecar.access.places import places_of
from sidecar.access.tenancy import prepare
from sidecar.access.visitors import Visitors
from sidecar.background.calibration import CalibrationThere, TokenCalibration
from sidecar.background.kept_requests import KeptRequests
from sidecar.background.large_work import LargeWork
from sidecar.background.learned_forms import LearnedForms
from sidecar.background.loop_witness import LoopWitness
from sidecar.background.memory import IdleMemory
from sidecar.background.model_windows import ModelWindows, WindowsThere
from sidecar.background.old_responses import OldResponses
from sidecar.background.retention import RetentionJob
from sidecar.background.search_index import SearchIndexJob
from sidecar.background.shared_forms import SharedForms
from sidecar.background.shared_metrics import SharedMetrics
from sidecar.background.slot_files import SlotFiles
from sidecar.background.store_room import StoreRoom
from sidecar.background.summaries import Summarizer
from sidecar.background.target_addresses import TargetAddresses
from sidecar.background.target_health import TargetHealth
from sidecar.background.tasks import BackgroundTasks
from sidecar.conversation.effort import EffortLimits
from sidecar.conversation.tree import LongMessages
from sidecar.dialects.responses.dialect import Responses
from sidecar.dialects.served import DIALECTS
from sidecar.doctor import RequestSamples
from sidecar.exchange.needs import Rules
from sidecar.exchange.outcome import Progress
from sidecar.metrics import Metrics
from sidecar.prompt.rebuild import Restore
from sidecar.proxy.append_lock import AppendLocks
from sidecar.proxy.bodies import Bodies
from sidecar.proxy.gate import Gate
from sidecar.proxy.open_requests import OpenRequests
from sidecar.proxy.own_responses import OwnResponses
from sidecar.proxy.recall_cache import RecallCache
from sidecar.proxy.reply_state import EndsTold
from sidecar.proxy.request_cache import RequestCache
from sidecar.proxy.room import Room
from sidecar.proxy.running import RunningRequests
from sidecar.proxy.runs import Runs
from sidecar.proxy.store_health import StoreHealth
from sidecar.settings import Settings
from sidecar.store import Store
from sidecar.traces import traces_of
from sidecar.upstream.headers import NOT_AS_IT_CAME, NOT_SENT
from sidecar.upstream.pool import Pool
from sidecar.upstream.slots import Slots
from sidecar.upstream.targets import Targets

__all__ = ["Background", "Requests", "Services"]

_REQUEST_CACHE_SIZE = 64 << 20  # bytes of memory; a request of 200 messages and 70 kB takes 400 kB

_HELD_BY_SOCKETS = 256 << 20  # bytes of memory; a chat of an agent takes 400 kB, and some have megabytes

_RECALL_CACHE_SIZE = 32 << 20  # bytes of memory; 700 messages of 150 characters that were dropped take 700 kB


_LEAST_FOR_TRACES = (
    1.0  # seconds in which the last traces may be sent, if nothing is left of the time to stop
)


class Services:
    """Settings, store, targets and metrics; the requests of this worker; its work in the background."""

    def __init__(
        self, settings: Settings, store: Store, targets: Targets, metrics: Metrics, folder: str | None = None
    ) -> None:
        """`folder`: where the workers of one sidecar have what they share."""
        self.settings = settings
        self.store = store
        self.targets = targets
        self.metrics = metrics
        self.requests = Requests(settings, store)
        #: Asks the upstream whether it serves Responses, where nobody says so.
        self.own_responses = (
            OwnResponses(targets.default, _responses(settings))
            if settings.responses.upstream == "auto"
            else None
        )
        self.background = background = Background(
            settings, store, targets, metrics, self.requests.forget_silent
        )
        #: The responses that are made here, whether their clients stay or not.
        self.runs = Runs(
            store,
            settings.limits,
            background.tasks.spawn,
            background.store_health.report,
            background.old_responses,
        )
        #: Looks at every request first; None where everybody is let in, as whoever he says he is.
        self.gate = self._gate(folder)
        #: Where requests are led to by their model; None where all go to one target.
        self.router = targets.router
        #: The target that what is known of models is about; None for the default one.
        self.there: Pool | None = None
        self._of_targets: dict[Pool, Services] = {}
        for pool in self.router.pools if self.router is not None else ():
            self._of_targets[pool] = self._at(pool)

    def _gate(self, folder: str | None) -> Gate | None:
        settings, requests, background = self.settings, self.requests, self.background
        has_keys = settings.keys.enforcement != "off"
        if not has_keys and not settings.identity.trusted:
            return None
        report = background.store_health.report
        keys = KnownKeys(self.store, background.tasks.spawn, report) if has_keys else None
        return Gate(settings, requests.places, requests.bodies, background.large_work, keys, folder)

    def at(self, pool: Pool) -> Services:
        """The same, for a request that goes to this target: what is known of models is of those there."""
        return self._of_targets[pool]

    def _at(self, pool: Pool) -> Services:
        if self.router is None or pool is self.router.default:
            return self
        made = copy(self)  # which knows of the others too
        made.there = pool
        made.settings = self.settings.model_copy(update={"upstream_agent": pool.is_agent})
        made.background = self.background.at(pool, self.settings)
        return made

    @property
    def is_tracked(self) -> bool:
        """Are requests to be found again by others?"""
        settings = self.settings
        is_kept = settings.inspector.keep_requests != "none"
        return is_kept or settings.logs.requests or settings.traces.requests

    async def learn_of_responses(self, request: web.BaseRequest) -> None:
        """Know which APIs are served here, for a request that may be of one of which that is not settled."""
        if self.own_responses is not None:
            self.requests.responses = await self.own_responses.dialect(request, self._doubt_responses)

    def _doubt_responses(self) -> None:
        self.requests.responses = None


class Requests:
    """By what requests are told apart and decided on, what those under way share, and what is remembered."""

    def __init__(self, settings: Settings, store: Store) -> None:
        limits, restore = settings.limits, settings.restore
        self.places = places_of(settings)
        self.visitors = Visitors(settings, self.places)
        prepare(settings)
        #: That API, where it is answered here; None where the upstream answers it, as far as that is known.
        self.responses = _responses(settings) if settings.responses.upstream == "translate" else None
        chat = _names_of_chats(settings) if settings.session.opaque else ()
        #: The names (lower case) of the client's headers that reach no upstream as they came; some more of a
        #: chat, whose body may be another one.
        self.kept_back = NOT_SENT.union(name.lower() for name in (*self.places.own, *chat))
        self.kept_back_of_chats = self.kept_back | NOT_AS_IT_CAME
        self.restore = Restore(
            answers=restore.answers, reasoning=restore.reasoning, user_messages=restore.user_messages
        )
        #: By what a request is decided on.
        self.rules = Rules(
            by_hash=self.restore.by_hash,
            pins=restore.system_prompt == "pin",
            # What one request's history may be compared with.
            effort=EffortLimits(limits.recognition_messages, limits.recognition_bytes),
        )
        self.bodies = Bodies(limits.bodies_in_flight, limits.max_body, limits.body_wait)
        #: For what is kept of the replies that are being relayed.
        self.replies = Room(limits.replies_in_flight)
        #: For what WebSockets remember of responses that are kept nowhere else.
        self.held_by_sockets = Room(_HELD_BY_SOCKETS)
        self.append_locks = AppendLocks(settings.history.append_wait, store)
        self.running = RunningRequests()
        self.open = OpenRequests()
        #: What is known of the chat requests that are being answered, for whoever looks on.
        self.under_way: set[Progress] = set()
        self.cache = RequestCache(_REQUEST_CACHE_SIZE)
        self.ends_told = EndsTold()
        self.long_messages = LongMessages()
        self.recall = RecallCache(_RECALL_CACHE_SIZE)
        self.slots = Slots(settings.session.slots)
        self.samples = RequestSamples(settings)
        #: Where the other workers tell what they do.
        self.other_workers: Sequence[str] = ()
        #: What `/-/ready` last said of store and upstream.
        self.states: dict[str, str] = {}

    def forget_silent(self) -> None:
        """Remember no more what nobody asked for in a while."""
        self.cache.forget_silent()
        self.recall.forget_silent()


class Background:
    """The work that no request waits for, and what it has found out."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        targets: Targets,
        metrics: Metrics,
        forget_silent: Callable[[], None],
    ) -> None:
        self.large_work = LargeWork()
        self.witness = LoopWitness(metrics, self.large_work)
        self.memory = IdleMemory(forget_silent)
        self.tasks = BackgroundTasks()
        spawn = self.tasks.spawn
        self.store_health = StoreHealth(store, metrics, spawn)
        report = self.store_health.report
        self.windows = ModelWindows(settings, targets.default, spawn)
        self._windows = [self.windows]
        metrics.is_listed = self._is_listed
        self._calibration = TokenCalibration(store, metrics, spawn, report)
        self.calibration: TokenCalibration | CalibrationThere = self._calibration
        self.forms = LearnedForms()
        self.shared_forms = SharedForms(store, self.forms, spawn, report)
        # What is known of windows is what the default target told.
        window_of = self.windows.of if settings.summary_base is None else _unknown
        self.summaries = Summarizer(
            settings.summary, targets.summary, store, report, window_of, metrics, spawn
        )
        self.retention = RetentionJob(store, settings.retention, spawn, report)
        self.kept_requests = KeptRequests(settings, store, spawn, report)
        self.old_responses = OldResponses(store, spawn, report)
        self.search_index = SearchIndexJob(store, settings.search.index, spawn, report)
        self.store_room = StoreRoom(settings, store, metrics)
        self.shared_metrics = SharedMetrics(metrics)
        self.traces = traces_of(settings)
        self.target_health = (
            TargetHealth(targets.router, metrics, spawn) if targets.router is not None else None
        )
        self.target_addresses = TargetAddresses(targets.router, spawn) if targets.router is not None else None
        files = settings.session.slot_files
        #: None where no slot is saved.
        self.slot_files = (
            SlotFiles(files, targets.chats, store, metrics, spawn, self.tasks.stopping, report)
            if files
            else None
        )

    def _is_listed(self, model: str) -> bool:
        return any(each.lists(model) for each in self._windows)

    def at(self, pool: Pool, settings: Settings) -> Background:
        """The same, with what is known of the models of this target."""
        made = copy(self)
        made.windows = WindowsThere(settings, pool, self.tasks.spawn)
        made.calibration = CalibrationThere(self._calibration, pool.maker)
        self._windows.append(made.windows)
        return made

    async def start(self) -> None:
        """Load what was learned before, and start the jobs. Needs an open store."""
        await self._calibration.load()
        await self.shared_forms.start()
        if self.target_addresses is not None:
            await self.target_addresses.start()
        if self.slot_files is not None:
            await self.slot_files.start()
        self.retention.start()
        self.search_index.start()
        self.kept_requests.start()
        self.old_responses.start()
        self.witness.start()
        self.memory.start()
        self.shared_metrics.start()

    async def stop(self, timeout: float) -> None:
        """Stop the jobs and wait for those that run; after `timeout` (seconds) tell them to end."""
        clock = asyncio.get_running_loop().time
        end = clock() + timeout
        self.witness.stop()
        self.memory.stop()
        for windows in self._windows:
            windows.stop()
        if self.target_health is not None:
            self.target_health.stop()
        if self.target_addresses is not None:
            self.target_addresses.stop()
        if self.slot_files is not None:
            self.slot_files.stop()
        self._calibration.stop()
        self.summaries.stop()
        self.shared_forms.stop()
        self.retention.stop()
        self.search_index.stop()
        self.old_responses.stop()
        await self.tasks.finish(timeout)
        self.large_work.stop()
        self.shared_metrics.stop()
        if self.traces is not None:
            await self.traces.stop(max(_LEAST_FOR_TRACES, end - clock()))


def _responses(settings: Settings) -> Responses:
    return Responses(settings.responses.max_tokens, settings.limits.max_reply)


def _names_of_chats(settings: Settings) -> list[str]:
    """The headers in which clients name their chats."""
    dialects = DIALECTS if settings.responses.upstream == "native" else (*DIALECTS, _responses(settings))
    own = [name for dialect in dialects for name in dialect.agent_headers]
    return [*settings.identity.headers, *settings.identity.agent_headers, *own]


def _unknown(model: str, credential: bytes) -> int | None:
    """The window of a model about which nothing is known."""
    return None
