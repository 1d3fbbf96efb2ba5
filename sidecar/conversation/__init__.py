"""What was said, and what that means for the next request. Pure: no I/O in this package.

    message    one message: its JSON, its normal form, its visible text
    history    the tree of a conversation: nodes, chain hashes, ids
    records    the values that stores keep of a conversation, besides its messages
    pieces     how much is in a JSON text, found without reading it
    request    the body of a chat completion: read it, write it back with other messages
    identity   which tenant, which conversation, which message ids
    tasks      is this a background task of the front end?
    echo       when is a client's re-sent message one that we hold?
    effort     how much of what is stored one request may be compared with
    reconcile  where in the tree does this request continue?
    recognise  which conversation does it continue, if it names none?
    rebuild    the messages that go upstream
    tokens     how many tokens is this, about?
    learning   what an upstream's counts teach of that
    silent     did an upstream cut a prompt without a word?
    trim       which turns fit the budget
    shorten    what is left of old tool results, images and reasoning before turns go
    steady     by which weights a conversation is cut, so that learning moves no cut
    summary    what stands for the turns that do not
    transcript what a model is asked that is to sum them up
    windows    what the upstreams' lists of models say of each model's window
    overflow   refusals for length, and what they tell

The words are those of the README: tenant, conversation, message, tip, turn, reply, echo.
"""
