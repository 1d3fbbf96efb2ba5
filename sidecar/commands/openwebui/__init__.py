"""`sidecar import openwebui`: the chats that Open WebUI keeps, so that a user starts with the past.

tables     the plain tables of its SQLite file
uploads    the images in one folder
database   its chats, out of both, and nothing but reading
replay     one of its messages, as Open WebUI would send it to a model the next time
bring      its chats into a store, under the ids and the tenants that its requests will have
"""
