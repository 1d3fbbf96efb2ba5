"""PostgreSQL: one database for any number of sidecars. Loaded only where it is used.

database    a pool of connections: what is tried again, and what an error means
schema      its migrations, under a lock that two replicas cannot hold at once
rows        values of the domain as parameters, and rows as values
statements  the SQL of one request: each method of a store is one round trip
lease       the append lock, among all replicas
search      the index of what was said, and what is found with it
kept_requests  requests as their clients sent them
client_keys  keys of clients
running_responses  responses that are made in the background
overview    what is told of conversations to whoever looks at them
maintenance listing, deleting and re-encrypting
store       the store itself
"""
