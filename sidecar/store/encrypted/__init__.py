"""Encryption at rest, around any other store.

cipher    how content is encrypted with a key
store     a store whose content is encrypted
"""
