"""Agent backends and routers that keep something for a chat: the real ones, where they can be installed."""
