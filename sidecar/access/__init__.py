"""Who asks, and who may: all of it is decided before a request is looked at.

places     where a request may say who it is: credentials, users, conversations
tenancy    whose request it is: the tenant
visitors   what web pages may ask, and who may read the sidecar's own pages
"""
