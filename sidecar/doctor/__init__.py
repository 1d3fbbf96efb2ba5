"""What do the clients really send? The examination behind `sidecar doctor`.

The map, each module above those that use it:

    sights      what is remembered of a request: how it named itself, never what it said
    seen        the remembered requests under the settings in force, counted
    finding     one thing to know, its cause and its cure
    advice      the words for what has to be set, most of it in Open WebUI
    chats, messages, tenants, service      the findings, topic by topic
    findings    all of them, the gravest first
    report      the examination as JSON, for `/-/doctor`
    text        that JSON for people
    ask         fetching it from a running sidecar

Only `ask` touches the network; `proxy/observers.py` fills the sights.
"""

from sidecar.doctor.sights import Sight, Sights

__all__ = ["Sight", "Sights"]
