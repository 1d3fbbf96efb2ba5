"""`./dev bench recall`: what comes back of a chat that was cut, when it is asked for.

The map, each module above those that use it:

    talk       our own talks, as they are written down in talks/*.txt
    prompts    what went upstream, and what can be told of it
    kinds      the talks kind by kind: is what a question needs in its prompt?
    locomo     the same with LoCoMo's talks, which have to be at hand
    model      the same with a real model: does it answer right, and what does that cost?
    run        the command
"""
