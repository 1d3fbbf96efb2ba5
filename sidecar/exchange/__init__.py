"""One request and its reply, as values. Nothing in here does I/O, and times are handed in.

call       the request, once it has been read
plan       what to do with it
prompt     what goes upstream, in which form, and where it first differs from the prompt before it
new_nodes  its new messages, as they are stored
usage      how many tokens it took, in every spelling in which upstreams report that
outcome    what is known of it by now, and the exchange that is made of that at the end
"""
