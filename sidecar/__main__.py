"""`python -m sidecar` is `sidecar`: the command line, where the system is one that it can run on.

Rule: this is known before anything else is imported. Elsewhere the import of the store would fail.
"""

import os
import sys

__all__ = ["main"]


def main() -> int:
    """Run one command; returns the exit code."""
    if os.name != "posix":
        print(
            "sidecar: it needs Linux, or another system with POSIX file locks. On Windows run it in WSL 2, or"
            " in a container: its Dockerfile makes the image.",
            file=sys.stderr,
        )
        return 1
    from sidecar.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
