"""A referee: what real upstreams refuse in a request, by profile; as a function, and as an upstream.

reading    a request body, read once for all rules
shape      rules on fields, content and the shape of calls
order      rules on roles, their order, and on pairs of calls and results
demands    rules on what a model wants back of its own: reasoning, signatures
templates  rules of chat templates, as llama.cpp and vLLM apply them
profiles   which upstream has which of these rules, with its status and its form of an error
strict     an upstream that answers, but what its profile refuses
talk       messages of a talk with tools
models     what the models behind the profiles answer
clients    a client that runs tools, and drops what most clients drop
talkers    clients that talk at random, with the habits of real ones
harm       random clients against random upstreams through the sidecar, and what is compared

A rule is a function from a request to the error's words, or None. No profile has all of them: what one
upstream demands (`reasoning_content`), another one refuses. Where a rule is known by a report alone, its
docstring names the report: `repository#number` on GitHub.
"""
