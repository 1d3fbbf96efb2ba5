"""Who asks, and who may: all of it is decided before a request is looked at.

places     where a request may say who it is: credentials, users, conversations
client_keys  keys that the operator gives to clients: made, changed, checked
presented  the client's key that a request presents, and what is left of it without
known_keys  the keys that requests present, as the store has them
models     which models a request asks for, where its key may not ask for all
slots      what all workers of one sidecar count together
peers      which peers may say who the user is
tenancy    whose request it is: the tenant
visitors   what web pages may ask, and who may read the sidecar's own pages
"""
