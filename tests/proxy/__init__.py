"""The sidecar between a real client and a real upstream, both on sockets of their own."""
