"""Measures of the sidecar, most of them in front of a real engine; no tests. `./dev bench NAME` runs one.

The map, each module above those that use it:

    started    a sidecar in a process of its own
    engine     llama.cpp with a small Gemma: installed once, started for one measure
    played     what is said: a fixed chat, a fixed agent's work, words that are the same every time
    asking     one request, streamed, and what the engine says that it cost
    reshaped   a server before the engine that makes tool calls and reasoning of its answers
    clients    who asks: Open WebUI, one that sends only what is new, one that cuts its own history
    scenes     plays a scene through a client, and sums up what it cost
    context    `./dev bench context`: what a long chat costs
    stripped   `./dev bench stripped`: what a client that changes the history costs
    full       `./dev bench full`: a chat that outgrows its engine
    estimate   `./dev bench estimate`: how far the estimate of tokens is off, as it learns
    slots      `./dev bench slots`: what tasks, and other chats, do to a chat's cache
    slot_restore  `./dev bench slot_restore`: what a chat costs whose slot comes back from a file
    filled     a store with a million conversations
    typical    a chat as people have it in Open WebUI
    store      `./dev bench store`: what a request costs in the store, and what a chat takes up there
    encrypted     `./dev bench encrypted`: what encryption costs
    crash      `./dev bench crash`: what a thousand `kill -9` lose; the rounds are those of tests/crash
    postgres   `./dev bench postgres`: what a request costs in PostgreSQL, and what a chat takes up there
    recall/    `./dev bench recall`: what of a chat that was cut comes back when it is asked for
    replicas   `./dev bench replicas`: the same with two sidecars on one PostgreSQL, and that killed too
    fail_over  `./dev bench fail_over`: what two targets that fail at random lose
    affinity   `./dev bench affinity`: what several engines have cached, by where a chat goes
    speed/     `./dev bench speed`: what the sidecar costs beside a proxy that does nothing
    guard      `./dev bench guard`: how many bytecodes a request takes; the counting is in tests/guard
"""
