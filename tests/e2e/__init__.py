"""The sidecar among real neighbours: Open WebUI in a browser, client libraries, agent backends."""
