"""Encryption at rest, around any other store.

cipher    how content is encrypted with a key
content   what is encrypted of each value, and to which place it is bound
kept_requests  requests as their clients sent them
client_keys  keys of clients
running_responses  responses that are made in the background
store     a store whose content is encrypted
"""
