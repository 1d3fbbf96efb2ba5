"""What was said, and what that means for the next request. Pure: no I/O in this package.

    pieces           how much is in a JSON text, found without reading it
    read_in_pieces   reading JSON of many megabytes while others want the interpreter
    reasoning        under which names and in which tags it comes, and what is left without it
    message          one message: its JSON, its normal form, its visible text
    measure          what an estimate of its tokens counts in it
    likeness         when are two prompts nearly the same, and two questions?
    tree             the tree of a conversation: nodes, chain hashes, ids
    exchange_record  one request with its reply, and what was done to it, as stores keep it
    records          the values that stores keep of a conversation, besides messages and exchanges
    running_response a response that is made in the background
    overview         what is told of conversations to whoever looks at them
    identity         which tenant, which conversation, which message ids
    flattened        what clients make of tool calls within the text of an answer
    effort           how much of what is stored one request may be compared with
    echo             when is a client's re-sent message one that we hold?
    reconcile        where in the tree does this request continue?
    find_by_history  which conversation does it continue, if it names none?

The words are those of the README: tenant, conversation, message, tip, turn, reply, echo.
"""
