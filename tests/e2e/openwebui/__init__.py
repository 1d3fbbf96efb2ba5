"""A real Open WebUI, driven by its own front end in a real browser."""
