"""The sidecar among real neighbours: a real Open WebUI in a real browser, real client libraries, real backends."""
