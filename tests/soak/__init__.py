"""For hours: `./dev soak [MINUTES]`. What a short test cannot show, a leak or a fault that needs two others.

    upstream   answers, fails, breaks off, is slow; and looks at every request as a strict backend would
    talkers    clients that go on whatever happens; those of them that chat through a real Open WebUI
    house      the processes, what is done to them, and what they take

Clients of all kinds chat over one sidecar, which is killed, and whose store is locked and has no room, at
times. At the end every reply that a client saw finish has to be there, once.
"""
