"""What all requests share. Made once at the start, handed to every room."""

from __future__ import annotations

from sidecar.access.places import places_of
from sidecar.access.visitors import Visitors
from sidecar.background.calibration import TokenCalibration
from sidecar.background.learned_forms import LearnedForms
from sidecar.background.model_windows import ModelWindows
from sidecar.background.retention import RetentionJob
from sidecar.background.shared_forms import SharedForms
from sidecar.background.summaries import Summarizer
from sidecar.background.tasks import BackgroundTasks
from sidecar.conversation.effort import Most
from sidecar.doctor import RequestSamples
from sidecar.exchange.needs import Rules
from sidecar.metrics import Metrics
from sidecar.prompt.rebuild import Restore
from sidecar.proxy.append_lock import AppendLocks
from sidecar.proxy.bodies import Bodies
from sidecar.proxy.open_requests import OpenRequests
from sidecar.proxy.request_cache import RequestCache
from sidecar.proxy.room import Room
from sidecar.proxy.running import RunningRequests
from sidecar.proxy.store_health import StoreHealth
from sidecar.settings import Settings
from sidecar.store import Store
from sidecar.upstream.slots import Slots
from sidecar.upstream.targets import Targets

__all__ = ["Services"]

_RECENT = 64 << 20  # bytes of memory; a request of 200 messages and 70 kB takes 400 kB


class Services:
    """Settings, store, targets, metrics, and what is known of them."""

    def __init__(self, settings: Settings, store: Store, targets: Targets, metrics: Metrics) -> None:
        self.settings = settings
        self.store = store
        self.targets = targets
        self.metrics = metrics
        self.places = places_of(settings)
        self.visitors = Visitors(settings, self.places)
        chat = settings.identity.headers if settings.session.opaque else ()
        #: The names (lower case) of the client's headers that reach no upstream as they came.
        self.kept_back = frozenset(name.lower() for name in (*self.places.own, *chat))
        self.recent = RequestCache(_RECENT)
        limits = settings.limits
        self.bodies = Bodies(limits.bodies_in_flight, limits.max_body, limits.body_wait)
        #: For what is kept of the replies that are being relayed.
        self.replies = Room(limits.replies_in_flight)
        self.samples = RequestSamples(settings)
        self.appends = AppendLocks(settings.history.append_wait, store)
        self.restore = Restore(
            answers=settings.restore.answers,
            reasoning=settings.restore.reasoning,
            user_messages=settings.restore.user_messages,
        )
        #: By what a request is decided on.
        self.rules = Rules(
            by_hash=self.restore.by_hash,
            pins=settings.restore.system_prompt == "pin",
            # What one request's history may be compared with.
            most=Most(settings.limits.recognition_messages, settings.limits.recognition_bytes),
        )
        self.running = RunningRequests()
        self.tasks = BackgroundTasks()
        self.store_health = StoreHealth(store, metrics, self.tasks.spawn)
        self.open_requests = OpenRequests()
        self.windows = ModelWindows(settings, targets.default, self.tasks.spawn)
        self.learned = TokenCalibration(store, metrics, self.tasks.spawn, self.store_health.report)
        self.forms = LearnedForms()
        self.shared_forms = SharedForms(store, self.forms, self.tasks.spawn, self.store_health.report)
        self.summaries = Summarizer(
            settings.summary,
            targets.summary,
            store,
            self.store_health.report,
            # What is known of windows is what the default target told.
            self.windows.of if settings.summary_base is None else _unknown,
            metrics,
            self.tasks.spawn,
        )
        self.slots = Slots(settings.session.slots)
        self.pruning = RetentionJob(store, settings.retention, self.tasks.spawn, self.store_health.report)
        #: What `/-/ready` last told of store and upstream.
        self.states: dict[str, str] = {}

    async def finish(self, timeout: float) -> None:
        """Stop the jobs and wait for work in the background; after `timeout` (seconds) tell it to end."""
        self.windows.stop()
        self.learned.stop()
        self.summaries.stop()
        self.shared_forms.stop()
        self.pruning.stop()
        await self.tasks.finish(timeout)


def _unknown(model: str, credential: bytes) -> int | None:
    """The window of a model about which nothing is known."""
    return None
