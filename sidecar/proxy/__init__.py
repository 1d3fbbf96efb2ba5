"""The server, and the path of a request. `turn.py` is that path; the rest are its rooms.

app           the server: routes, start, graceful end
workers       several processes that do it together
sockets       the port that they share
context       what all requests share: settings, store, upstream and what is known of them
store_health  does the store work? a circuit breaker
background_tasks work that outlives its request
open_requests requests that are being answered
turn          identify, load, reconcile, rebuild, trim, forward, relay, record: the table of contents
receive       the request: who asks, about what
body          its body, as it arrives, and unpacked
bodies        how much memory all bodies may take together
visitors      what web pages may ask, and who may read the sidecar's own pages
places        where a request may say who it is
tenant        whose request it is
load          what the store knows about it, and where it continues
recognise     the look-ups for a request that names no conversation
compose       the request as it goes upstream
session       under which name the upstream knows the conversation
budget        how much of the history it may take along
windows       what is known of each model's window
known_windows which credential was told what of it
tasks         titles and the like: shortened, and done elsewhere if so set
summary       what stands for the turns that are left out
summarise     having a model sum them up, in the background
summaries     which of that is under way, and what failed
learned       what the upstream's counts teach, model by model
observers     who is told of an exchange: headers, counters, log, doctor
unrecorded    the end of an exchange whose reply is not recorded
forward       sending it on, and what becomes of it when the client leaves first
heal          a request that is refused for its length is cut and sent again
relay         the reply on its way to the client, with a copy kept
kept          the bytes of a reply while it is relayed, up to a limit
room          memory that requests share
record        the copy into the store
passthrough   every other path and method, and WebSockets
entropy       ids that nobody can guess
recent        the last request of each conversation, to compare the next with
appends       one append to a conversation at a time
pruning       what is kept no longer goes, now and then
server        errors of requests that cannot even be read
health        /-/live, /-/ready, /-/metrics
"""
