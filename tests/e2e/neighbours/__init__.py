"""The real libraries and programs that people put in front of the sidecar or behind it."""
