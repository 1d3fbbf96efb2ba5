"""A real nginx in front of the sidecar, as people set it up for WebSockets and streams."""
