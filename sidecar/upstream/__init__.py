"""Calling the backend: the only user of aiohttp's client.

failures          what went wrong with it, in words of ours
content_encoding  which compressed bodies can be read
headers           which headers travel on
credentials       which credentials go to which target
response          a response of which some bytes may have been read ahead
error_probe         is a response an error, and which?
addresses         the addresses of a name
session_header    in which header a target is told the session of a request
slots             which of the engine's slots a conversation is on
slot_ring         which file of an engine holds which chat's slot
target            one backend: URLs, retries, its session
slot_api          what an engine does with its slots
choice            which of several members a chat goes to
health            which of them are left alone for a while
pool              a target of several, with its models and members
router            which targets a request may go to, in which order
targets           which targets the settings name, and how each is reached
"""
