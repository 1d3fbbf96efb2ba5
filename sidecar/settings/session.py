"""The section on the id of a chat that the upstream is told.

Rule: what is set by hand goes before what a profile says.
"""

from __future__ import annotations

from functools import cached_property

from pydantic import Field

from sidecar.settings import session_profiles
from sidecar.settings.section import Section
from sidecar.settings.values import BodyField, Count, FewFiles, HeaderToSend, ProfileName


class Session(Section):
    """The stable session id that is sent upstream, whether or not the client sends an id."""

    profile: ProfileName = Field(
        session_profiles.AUTO,
        description="Under which name the upstream takes the id of a chat: `auto` knows some by their address"
        " or their list of models, and adds a header that they document as a hint; it stands aside where"
        " `headers` or `body_field` are set. Or the name of a profile, or `none`.",
    )
    headers: tuple[HeaderToSend, ...] = Field(
        ("X-Conversation-ID",),
        description="Request headers that carry the conversation's id to the upstream, such as"
        " `X-Session-ID`. A client's own value in one that is not among `identity.headers` names its chat and"
        " is not passed on, even where `identity.agent_headers` has it.",
    )
    opaque: bool = Field(
        False,
        description="Send the sidecar's own id also in place of the name that the client gave its chat, in"
        " `identity.headers`, `identity.agent_headers` and `session.body_field`: two tenants with one name"
        " then differ there too.",
    )
    body_field: BodyField = Field(
        "",
        description="Field of the request body that carries the id to the upstream, such as"
        " `prompt_cache_key`; empty for none. A client's own value is kept, unless `session.opaque` is set.",
    )
    slots: Count = Field(
        0,
        description="For llama.cpp: its number of slots (`-np`). Each chat stays on one slot while there is"
        " room for all, by the body field `id_slot`; 0 leaves the choice to the engine.",
    )
    slot_files: FewFiles = Field(
        0,
        description="For llama.cpp with `--slot-save-path`: so many files, written again and again, keep the"
        " slots of chats, which come back from there when another chat took the slot or the engine was"
        " started anew; for each URL, 0 for none. Needs `slots`.",
    )
    cache_prompt: bool = Field(
        False,
        description="For llama.cpp: set the body field `cache_prompt`, for versions where it is off by"
        " default.",
    )

    @property
    def is_by_hand(self) -> bool:
        """Are the names under which the id is sent set, other than by a profile?"""
        return self.headers != type(self).model_fields["headers"].default or bool(self.body_field)

    @cached_property
    def own_headers(self) -> tuple[str, ...]:
        """The headers in which the sidecar alone says which conversation it is."""
        named = session_profiles.PROFILES.get(self.profile)
        if named is None or not named.is_kept or named.header.lower() in map(str.lower, self.headers):
            return self.headers
        return (*self.headers, named.header)

    @cached_property
    def field(self) -> str:
        """The field of the body that carries the id; empty for none."""
        named = session_profiles.PROFILES.get(self.profile)
        return self.body_field or (named.body_field if named is not None else "")
