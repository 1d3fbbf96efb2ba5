"""One request and its reply, as values. Nothing in here does I/O, and times are handed in.

call       the request, once it has been read
plan       what to do with it
threads    to which thread of the conversation it may belong, and what is kept of one
needs      what a decision needs to know beside the request
whole      where the history continues that a request brings
open_calls in which thread calls wait for the results that it brings
at_once    two first messages that were sent at once, one after the other
thin       new words behind the head of a thread
decide     whole, thin or alone? which plan it is
prompt     what goes upstream, in which form, and where it first differs from the prompt before it
new_nodes  its new messages, as they are stored
usage      how many tokens it took, in every spelling in which upstreams report that
client_request  a request as its client sent it, where that is kept
outcome    what is known of it by now, and the exchange that is made of that at the end
gen_ai     an exchange in the words of OpenTelemetry's conventions
"""
