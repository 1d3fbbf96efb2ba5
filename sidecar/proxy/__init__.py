"""The path of a request. `handle.py` is that path; the rest are its rooms.

append_lock    one append to a conversation at a time
recall_cache   the indexes of what was dropped from conversations
own_responses  does the upstream serve Responses by itself?
request_cache  the last request of each conversation, to compare the next with
open_requests  requests that are being answered
running        what is being answered now, for clients that send only what is new
room           memory that requests share
stopped        a request whose answer nobody wants any more
runner         the name of a process, by which others may know that it is gone
runs           responses that are made in the background by this process
bodies         how much memory all bodies may take together
body           a request's body, as it arrives, and unpacked
gate           who is let in: keys of clients, and peers that may name users
reply_state    whether a reply is whole, by how it ended
kept           the bytes of a reply while it is relayed, up to a limit
store_health   does the store work? a circuit breaker
services       what all requests share: settings, store, targets and what is known of them
tracked        by what a request is found again, in logs and traces
observers      who is told of an exchange: headers, counters, log, doctor
unrecorded     the end of an exchange whose reply is not recorded
again          responses and items, made again of what is kept
notes          what a client keeps with a conversation
taken_out      what is left without the items that a client took out of it
referred       the items that a request refers to
receive        the request: who asks, about what
find_by_history the look-ups for a request that names no conversation
named_later    a chat that its client named only after it had begun
dropped_calls  calls that a client dropped on purpose
go_on          a request that goes on from a response by its id
in_conversation a request that names its conversation in its body
load           what the store knows about it, and where it continues
session        under which name the upstream knows the conversation
budget         how much of the history it may take along
summary        what stands for the turns that are left out
recall         what of those comes back, since the newest question asks for it
upstream_request a request as it goes upstream, and how it was composed
line           the messages that may go upstream: the request's, with what of the store belongs to them
build          the request as it goes upstream, put together
tasks          titles and the like: shortened, and done elsewhere if so set
translated     a chat over another API than its upstream speaks
overflow_retry a request that is refused for its length, cut
form_retry     a request that is refused for its form, in another one
slot_files     an engine's slot of a chat, saved and brought back
journey        any request on its way from target to target
fail_over      to which target a chat goes, and to which next
model_list     the models of all targets
retries        a refused request is sent again, before the client has seen a byte
silent_cut     an upstream that cuts prompts without saying so
echoes         under which hashes a turn is found again
record         the copy into the store
ends           what of a reply is held back until it is stored
relay          the reply on its way to the client, with a copy kept
forward        sending it on, and what becomes of it when the client leaves first
named_model    for which model a request asks that is not read otherwise
websocket      WebSockets, passed on message by message
passthrough    every other path and method
handle         identify, load, reconcile, rebuild, trim, forward, relay, record: the table of contents
compact        a history that a client wants in fewer words
follow         the events of a response that is made in the background, by any process
in_background  a response that is made whether its client stays or not
responses_socket  requests over a WebSocket, each of which takes that path
"""
