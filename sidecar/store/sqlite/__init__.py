"""One file: the default store.

file_locks   the append lock among processes that share a file
worker       a thread with a connection of its own: group commit for writing, a queue for reading
upgrade      an older file before it is opened: upgraded with nobody else on it, or refused
reopen       reopens a file whose reads fail
tip_cache    the newest message of each conversation that this process recorded last, in memory
bodies       the body of a message, a large one smaller
parts        the same, with its large parts in rows of their own
nodes        nodes in the file's tables, and what is kept so that they are found
threads      what roots are known by, likewise
beside       long work on a connection of its own
overview     what is told of conversations to whoever looks at them
search       the index of what was said, and what is found with and without it
kept_requests  requests as their clients sent them
client_keys  keys of clients
running_responses  responses that are made in the background
deletion     a conversation, in steps
maintenance  listing, deleting, copying and re-encrypting
record       one exchange into the file's tables
find         which conversation a request belongs to
store        the contract, on all of these
"""
