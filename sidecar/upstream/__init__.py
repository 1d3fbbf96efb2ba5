"""Calling the backend: the only user of aiohttp's client.

targets           which targets the settings name, and how each is reached
target            one backend: URLs, retries, its session
credentials       which credentials go to which target
headers           which headers travel on
content_encoding  which compressed bodies can be read
response          a response of which some bytes may have been read ahead
overflow_probe    is a response a refusal for length?
failures          what went wrong with it, in words of ours
slots             which of the engine's slots a conversation is on
"""
