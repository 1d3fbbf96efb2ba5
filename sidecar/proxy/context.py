"""What all requests share. Made once at the start, handed to every room."""

from __future__ import annotations

from sidecar.conversation.effort import Most
from sidecar.conversation.rebuild import Restore
from sidecar.doctor import Sights
from sidecar.metrics import Metrics
from sidecar.proxy.appends import Appends
from sidecar.proxy.background_tasks import BackgroundTasks
from sidecar.proxy.bodies import Bodies
from sidecar.proxy.learned import Learned
from sidecar.proxy.open_requests import OpenRequests
from sidecar.proxy.places import places_of
from sidecar.proxy.pruning import Pruning
from sidecar.proxy.recent import Recent
from sidecar.proxy.room import Room
from sidecar.proxy.store_health import StoreHealth
from sidecar.proxy.summaries import Summaries
from sidecar.proxy.visitors import Visitors
from sidecar.proxy.windows import Windows
from sidecar.settings import Settings
from sidecar.store import Store
from sidecar.upstream.slots import Slots
from sidecar.upstream.targets import Targets

__all__ = ["Context"]

_RECENT = 64 << 20  # bytes of memory; a request of 200 messages and 70 kB takes 400 kB


class Context:
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
        self.recent = Recent(_RECENT)
        limits = settings.limits
        self.bodies = Bodies(limits.bodies_in_flight, limits.max_body, limits.body_wait)
        #: For what is kept of the replies that are being relayed.
        self.replies = Room(limits.replies_in_flight)
        self.sights = Sights(settings)
        self.appends = Appends(settings.history.append_wait, store)
        self.restore = Restore(
            answers=settings.restore.answers,
            reasoning=settings.restore.reasoning,
            user_messages=settings.restore.user_messages,
        )
        #: What one request's history may be compared with.
        self.most = Most(settings.limits.recognition_messages, settings.limits.recognition_bytes)
        self.tasks = BackgroundTasks()
        self.store_health = StoreHealth(store, metrics, self.tasks.spawn)
        self.open_requests = OpenRequests()
        self.windows = Windows(settings, targets.default, self.tasks.spawn)
        self.learned = Learned(store, metrics, self.tasks.spawn, self.store_health.report)
        self.summaries = Summaries(self.tasks.spawn)
        self.slots = Slots(settings.session.slots)
        self.pruning = Pruning(store, settings.retention, self.tasks.spawn, self.store_health.report)
        #: What `/-/ready` last told of store and upstream.
        self.states: dict[str, str] = {}

    async def finish(self, timeout: float) -> None:
        """Stop the jobs and wait for work in the background; after `timeout` (seconds) tell it to end."""
        self.windows.stop()
        self.learned.stop()
        self.summaries.stop()
        self.pruning.stop()
        await self.tasks.finish(timeout)
