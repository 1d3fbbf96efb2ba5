"""The life of the process: listening, workers, a graceful end.

metrics_folder  where several workers share their counters
demo       a small OpenAI-compatible upstream, to see the sidecar work without a model
http       aiohttp's low-level server, and errors of requests that cannot be read
responses  requests of the Responses API that are no plain POST to it
model_list the list of models, for a key that may not ask for all
routes     what answers a request
sockets    the port that several workers share
each_other what the workers tell each other
workers    several processes that do it together
serve      routes, start, and an end that loses nothing
"""
