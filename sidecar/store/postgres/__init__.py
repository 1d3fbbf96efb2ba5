"""PostgreSQL: one database for any number of sidecars. Only `url` is loaded where it is not used.

url         what a store URL says, and how it is shown without its password
database    a pool of connections: what is tried again, and what an error means
schema      its migrations, under a lock that two replicas cannot hold at once
statements  the SQL of one request: each method of a store is one round trip
rows        values of the domain as parameters, and rows as values
lease       whose turn it is to append, among all replicas
life        what is held, deleted and sealed anew
store       the store itself
"""
