"""Responses and conversations as things of their own: asked for again by their ids, listed and deleted.

paging         a list, page by page
again          responses and items, made again of what is kept
responses      one response: get, delete, its input
ask            which of it a request asks for
"""
