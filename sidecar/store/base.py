"""What every store can do. `tests/store/test_conformance*.py` are the contract in full.

A store keeps trees of messages, by conversation. What was said is never rewritten: recording a turn
adds nodes, and adding a node that exists changes nothing, so recording twice is harmless.
The cost of `find` and `record` does not grow with the length of a history.

The first half of the methods serves requests, the second half what people do with a store: they look at
it, delete from it, copy it. No step of these holds up a request for longer than a few milliseconds.

Every method raises `StoreUnavailable` if the store cannot be read or written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from sidecar.conversation.exchange_record import Exchange, Reference
from sidecar.conversation.overview import Outline, Overview, Overviews, Spent
from sidecar.conversation.records import (
    ConversationStats,
    ConversationUpdate,
    Found,
    Snapshot,
    Summary,
    Thread,
)
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.conversation.tree import Conversation, Node
from sidecar.errors import SidecarError
from sidecar.prompt.search_words import Sought
from sidecar.store.client_keys import KeyRow
from sidecar.store.searched import EVERYWHERE, Indexed, Looked, Where

__all__ = ["MAX_ALIKE", "MAX_CANDIDATES", "MAX_LEARNED", "Store"]

#: Of conversations that read alike so far, so many are looked at. They keep a look-up as cheap where
#: thousands of chats begin with the same words.
MAX_ALIKE = 16
#: What more conversations than these have in common does not help to find one of them.
MAX_CANDIDATES = 8
#: So many things learned are kept: a client can make up names of models without end.
MAX_LEARNED = 1000


class Store(ABC):
    """Conversations by id, and nodes by conversation."""

    #: Keys the hashes of tenants and conversations; made once, and kept with the data. At least 16 bytes.
    secret: bytes
    #: Raises `StoreUnavailable` for the secret, as it is kept, of a store that it cannot open. Set by whoever
    #: can open what is encrypted (see `encrypted`); others refuse a store that is.
    check_secret: Callable[[bytes], object] | None = None
    #: Does it keep a large part of messages (see `parts`) once in each conversation? Known once it is open.
    shares_parts = True
    #: May there be an index of what was said?
    may_index = True

    @abstractmethod
    async def open(self) -> None:
        """Make the store ready; sets `secret`. The message of the error says what to do."""

    @abstractmethod
    async def close(self) -> None:
        """Finish the work that was accepted, then release all resources."""

    @abstractmethod
    async def probe(self) -> None:
        """Return if a write would succeed now."""

    async def check(self) -> None:  # noqa: B027 - most stores have nothing to say
        """Return if the last read that failed succeeds now."""

    def waiting(self) -> tuple[int, int]:
        """How many reads and how many writes have been asked for and are not done."""
        return 0, 0

    @abstractmethod
    async def find(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found:
        """The first of the conversations `ids` that is this tenant's, and the first of `hashes` in it."""

    def find_cached(self, tenant: bytes, ids: Sequence[str], hashes: Sequence[bytes]) -> Found | None:
        """What `find` gives, if that is known without asking; None if it is not.

        What another process has recorded a moment ago may be missing. `ids` are not empty.
        """
        return None

    @abstractmethod
    async def find_by_history(self, tenant: bytes, hashes: Sequence[bytes]) -> str | None:
        """The id of the conversation of this tenant that holds the first of `hashes` which any holds.

        Of one that has a key only what `is_found_by_echo` says counts, as in `candidates`: whoever sends an
        id finds it by that. What was recorded while it had none counts no more once it has.

        The last of `hashes` names the history up to an answer, and that has to be an upstream's reply. Of
        several conversations, one in which nothing follows yet, and of those the one used last; the newest
        `MAX_ALIKE` are looked at.
        """

    @abstractmethod
    async def candidates(
        self, tenant: bytes, hashes: Sequence[bytes], digests: Sequence[bytes]
    ) -> dict[str, int]:
        """Conversations of this tenant that hold one of `hashes`, or a reply with one of `digests`.

        Newest first, with the number of messages in each. What more than `MAX_CANDIDATES` conversations
        hold does not count, for it tells nothing.
        """

    @abstractmethod
    async def path(self, conversation: str, node: bytes) -> list[Node]:
        """The nodes from the root to `node`, both included."""

    @abstractmethod
    async def tree(self, conversation: str) -> list[Node]:
        """All nodes, in the order in which they were recorded."""

    @abstractmethod
    async def system(self, conversation: str) -> tuple[bytes, bytes] | None:
        """The first and the last leading system messages seen (JSON arrays), or None."""

    @abstractmethod
    async def threads(self, conversation: str, limit: int = 64) -> list[Thread]:
        """What its roots are known by, the one updated last first, at most so many.

        Of roots that an older version recorded there are none, until something is recorded under them.
        """

    @abstractmethod
    async def record(self, update: ConversationUpdate) -> None:
        """Add what one request and its reply brought. When this returns, it is durable.

        One that goes on from a message which is not there, since it was deleted meanwhile, is not kept, nor
        one that goes on in a conversation which has got another key meanwhile. An exchange without messages
        goes on from its parent.
        """

    @abstractmethod
    async def exchanges(
        self, tenant: bytes, conversation: str, *, limit: int = 100, before: bytes | None = None
    ) -> list[Exchange]:
        """The exchanges of this tenant's conversation, the newest first: those that began before another one
        (its id), at most so many."""

    @abstractmethod
    async def exchange(self, tenant: bytes, conversation: str, id: bytes) -> Exchange | None:
        """The exchange of this id, or None."""

    @abstractmethod
    async def amend(self, tenant: bytes, exchange: Exchange) -> bool:
        """Replace the detail of this tenant's exchange by that of `exchange`, whose other fields are what is
        stored; returns whether there is such an exchange. When this returns, it is durable."""

    @abstractmethod
    async def keep_request(self, conversation: str, exchange: bytes, data: bytes, *, most: int) -> None:
        """Keep this request of an exchange as its client sent it, if the exchange is there. Of those of its
        conversation the oldest go, so that all have no more than `most` bytes; the newest stays in any
        case. They are deleted with the conversation, and are no part of a snapshot."""

    @abstractmethod
    async def kept_request(self, tenant: bytes, conversation: str, exchange: bytes) -> bytes | None:
        """The request of this exchange of this tenant's conversation, or None."""

    @abstractmethod
    async def drop_requests(self) -> None:
        """Delete all requests that are kept, in small steps."""

    @abstractmethod
    async def begin_response(self, response: RunningResponse, events: KeptEvents) -> None:
        """Have all processes know of a response that is made in the background, with its first events. Both
        go with its conversation, and are no part of a snapshot."""

    @abstractmethod
    async def add_events(self, where: Reference, events: KeptEvents) -> bool:
        """Keep what was told of it since, as long as it is made; returns whether it is."""

    @abstractmethod
    async def end_response(
        self, where: Reference, told: bytes, last: int, events: KeptEvents | None = None
    ) -> bool:
        """It is over: what it is told as from now on (JSON; nothing where the tree has it), the number of its
        last event, and those that are to be kept. Returns whether it was made until now: else nothing is
        changed."""

    @abstractmethod
    async def running_response(self, tenant: bytes, where: Reference) -> RunningResponse | None:
        """The response of this tenant that is made in the background, or was a while ago; else None."""

    @abstractmethod
    async def response_events(
        self, tenant: bytes, where: Reference, after: int, most: int
    ) -> list[KeptEvents]:
        """Its events behind that of the number `after`, in order, as they were kept together: what is kept
        with one of them comes too. At most so many pieces."""

    @abstractmethod
    async def heard_of(self, runner: str) -> None:
        """Note that this process makes its responses still."""

    @abstractmethod
    async def made_by(self, runner: str) -> dict[bytes, bool]:
        """The responses that it makes, by their exchanges, each with whether it is to be cancelled."""

    @abstractmethod
    async def cancel_response(self, tenant: bytes, where: Reference) -> None:
        """Have the process that makes this response, if one does, find that it is to be cancelled."""

    @abstractmethod
    async def forget_response(self, tenant: bytes, where: Reference) -> bool:
        """Delete what is kept here of this response; returns whether there was anything."""

    @abstractmethod
    async def forget_responses(self, after: float) -> bool:
        """The same for those that ended, or whose process was heard of last, at least so many seconds ago, in
        small steps; returns whether others are left."""

    def cross_process_lock(self, name: str, wait: float) -> AbstractAsyncContextManager[bool]:
        """Hold the append lock of this name against other processes that share this store; gives whether one
        of them held it.

        Raises `TimeoutError` if it cannot be had within `wait` (seconds). What is recorded under it is
        refused once another process has taken it over, as may happen to one that does not renew it.
        """
        return nullcontext(False)

    @abstractmethod
    async def find_summary(self, conversation: str, hashes: Sequence[bytes]) -> Summary | None:
        """The summary of the first of these path prefixes that has one."""

    @abstractmethod
    async def add_summary(self, conversation: str, summary: Summary) -> None:
        """Add a summary to its conversation, unless that is gone or has one of this prefix already."""

    @abstractmethod
    async def save_learned(self, name: str, value: bytes) -> None:
        """Save a value under this name, replacing an older one; the newest `MAX_LEARNED` are kept."""

    @abstractmethod
    async def load_learned(self) -> dict[str, bytes]:
        """Everything that was learned, oldest first."""

    @abstractmethod
    async def client_key(self, id: str) -> KeyRow | None:
        """The client's key of this id, or None."""

    @abstractmethod
    async def client_key_ids(self) -> list[str]:
        """The ids of all keys of clients, in order."""

    @abstractmethod
    async def put_client_key(self, row: KeyRow) -> bool:
        """Keep this key, durably, in place of an older version of it; a day of use that is later stays.

        Returns whether it is what the store holds now. If not, somebody else has changed it, or made it.
        """

    @abstractmethod
    async def use_client_key(self, id: str, day: int) -> None:
        """The key of this id, if there is one, was used on this day, in days since 1970."""

    @abstractmethod
    def conversations(self, name: str | None = None) -> AsyncIterator[Conversation]:
        """Every conversation, oldest first; with `name` those with this id or this client's key."""

    @abstractmethod
    def conversation_stats(
        self, *, tenant: bytes | None = None, name: str | None = None, sized: bool = True
    ) -> AsyncIterator[ConversationStats]:
        """What every conversation takes up, oldest first, read in small steps.

        With `tenant` those of this tenant, with `name` those with this id or this client's key. Without
        `sized` messages and bytes are not counted.
        """

    @abstractmethod
    async def overviews(
        self, *, limit: int = 50, before: tuple[float, str] | None = None, recent: int = 1
    ) -> Overviews:
        """The conversations that were used last, the newest first, at most so many; those before another one
        in that order (its `updated_at` and id). `recent`: so many exchanges of each are told."""

    @abstractmethod
    async def outline(self, conversation: str) -> Outline | None:
        """The shape of this conversation's tree; None if there is no such conversation."""

    @abstractmethod
    async def messages(self, conversation: str, nodes: Sequence[bytes]) -> list[Node]:
        """Those of these nodes that are there, in the order in which they were recorded."""

    @abstractmethod
    def spent(self, begin: int, end: int) -> AsyncGenerator[list[Spent], None]:
        """The exchanges of all conversations that began from `begin` on and before `end` (Unix milliseconds),
        read in small steps: conversations that were begun last come first, and in each of them the newest."""

    @abstractmethod
    async def overview(self, name: str) -> Overview | None:
        """What a list tells of the conversation of this id, or else of the one of this client's key that was
        used last; None if there is none."""

    @abstractmethod
    async def look_for(self, sought: Sought, where: Where = EVERYWHERE) -> Looked:
        """The messages that have all these words, as far as `where` lets it look: of all branches, the newest
        first. There is no index needed, but with one it comes far. In a message of more than 1 MiB nothing
        is found, nor behind the first 100,000 characters of one."""

    async def taken(self) -> int | None:
        """Bytes that the store takes, where it is no file that could be looked at, and knows."""
        return None

    async def index_more(self) -> bool:
        """Put some of what was said into the index, in a step that holds up nobody; True if there was any.

        Of processes that share a store one at a time should do this. Nothing of a message that is deleted
        stays in the index.
        """
        return False

    async def indexed(self, *, sized: bool = True) -> Indexed:
        """How much is in the index. Without `sized` its bytes are not counted, which takes long."""
        return Indexed(0, 0, 0)

    async def drop_index(self) -> None:  # noqa: B027 - most stores have one
        """Delete the index, in small steps."""

    @abstractmethod
    async def delete(self, conversation: str, *, unless_after: float | None = None) -> bool:
        """Delete a conversation with everything in it, in small steps; from the first on it is not found.

        Returns whether there was one; with `unless_after` one that was used after that time stays.
        """

    @abstractmethod
    async def delete_learned(self) -> None:
        """Delete everything that was learned."""

    @abstractmethod
    async def purge(self, *, compact: bool) -> None:
        """Remove the last traces of deleted data, also where the last deletion was interrupted.

        With `compact` the space is freed as well, which may take long and block writers.
        """

    @abstractmethod
    async def snapshot(self, conversation: str) -> Snapshot | None:
        """A consistent snapshot of this conversation; None if there is none."""

    @abstractmethod
    async def add_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a conversation that comes from elsewhere, durably. What is there already stays as it is;
        what is told of the conversation as a whole is that of the one that was used last, but a name that
        either has got stays, and from then on it is found by that alone. A thread becomes what it would be
        if both had been recorded, in the order of their times."""

    @abstractmethod
    async def replace_snapshot(self, conversation: str, change: Callable[[Snapshot], Snapshot]) -> bool:
        """Atomically replace what is stored by what `change` makes of it, for re-encryption.

        Tenant, bodies, usages, system messages, texts of summaries, details of exchanges, and the system
        messages, model and tools of threads may differ, and nothing else may.
        Returns whether there is such a conversation. `change` must be quick, and may run in another thread.
        """

    @abstractmethod
    async def replace_secret(self, secret: bytes) -> None:
        """Store this secret in place of the present one, and use it."""

    async def backup(self, file: str, progress: Callable[[float], None]) -> None:
        """Copy a consistent state of the store to a new file, while it is in use. `progress`: 0 to 1."""
        raise SidecarError(
            f"this store is not a file that could be copied to {file}: use the backup of the database itself,"
            " or `sidecar migrate --to sqlite:///FILE`"
        )
