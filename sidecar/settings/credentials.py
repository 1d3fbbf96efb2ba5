"""Where clients and gateways put keys, by name.

Rule: the first ones have fixed places in what a tenant is a hash of; further ones are added behind them, so
that a longer list makes nobody a new tenant who sends what he sent before.
"""

from __future__ import annotations

__all__ = ["CREDENTIAL_HEADERS", "CREDENTIAL_PARAMETERS", "FIRST_HEADERS"]

FIRST_HEADERS = ("Authorization", "api-key", "x-api-key", "x-goog-api-key")
#: Further: Azure API Management, Kong and APISIX, OpenStack and others, LiteLLM, Portkey, Cloudflare,
#: Helicone, Azure Functions.
CREDENTIAL_HEADERS = (
    *FIRST_HEADERS,
    "Ocp-Apim-Subscription-Key",
    "apikey",
    "X-Auth-Token",
    "X-Access-Token",
    "x-litellm-api-key",
    "x-portkey-api-key",
    "cf-aig-authorization",
    "Helicone-Auth",
    "x-functions-key",
)
#: Google and Azure first; then gateways, RFC 6750 (2.3), Azure API Management and Azure Functions.
CREDENTIAL_PARAMETERS = (
    "key",
    "api_key",
    "api-key",
    "apikey",
    "x-api-key",
    "token",
    "access_token",
    "auth_token",
    "subscription-key",
    "code",
)
