"""Files with secrets in them that other users of the machine can read.

Rule: that is said at the start, with the cure, and stops nothing: a mounted secret often has no other mode.
"""

from __future__ import annotations

import os
import shlex
import stat

__all__ = ["exposed"]

_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def exposed(what: str, file: str) -> str | None:
    """A sentence with the cure if this file can be read or changed by anybody but its owner."""
    try:
        mode = os.stat(file).st_mode
    except OSError:  # whoever reads it says what is wrong with it
        return None
    if os.name != "posix" or not stat.S_ISREG(mode) or not mode & _OF_OTHERS:
        return None
    done = "changed" if mode & _WRITABLE else "read"
    return f"{what} {file} can be {done} by other users of this machine: chmod 600 {shlex.quote(file)}"
