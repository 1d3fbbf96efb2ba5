"""The packages whose tests are tried."""

PURE = ("conversation", "prompt", "dialects", "exchange")
