"""Responses and conversations as things of their own: asked for again by their ids, listed and deleted.

paging         a list, page by page
responses      one response: get, delete, its input
conversations  one conversation, and its items
tokens         how many tokens a request would take
ask            which of it a request asks for
"""
