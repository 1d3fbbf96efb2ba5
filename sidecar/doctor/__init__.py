"""What do the clients really send? The examination behind `sidecar doctor`.

The map, each module above those that use it:

    backends    what a backend is by what it says of itself, and what it is known to demand
    samples     what is remembered of each request: how it named itself, never what it said
    targets     how each of several targets is, and each of its members
    evidence    the remembered requests under the settings in force, counted
    outages     when the store failed, and how many requests are not recorded
    finding     one thing to know, its cause and its cure
    advice      the words for what has to be set, most of it in Open WebUI
    chats, messages, tenants, service      the findings, topic by topic
    findings    all of them, the most serious first
    report      the examination as JSON, for `/-/doctor`
    text        that JSON for people
    ask         fetching it from a running sidecar

Only `ask` touches the network; `proxy/observers.py` fills the samples.
"""

from sidecar.doctor.samples import RequestSample, RequestSamples

__all__ = ["RequestSample", "RequestSamples"]
