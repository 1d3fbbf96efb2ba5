"""`sidecar import openwebui`: the chats that Open WebUI keeps, so that a user starts with the past.

database   reading its SQLite file, and nothing but reading
replay     one of its messages, as Open WebUI would send it to a model the next time
bring      its chats into a store, under the ids and the tenants that its requests will have
"""
