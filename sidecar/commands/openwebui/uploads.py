"""The images that were uploaded to Open WebUI, from one folder and no other.

Rule: the database names the files, and whoever made it may name any. So only the last part of a path
counts, in the folder beside the database or the one that the operator names: no symbolic link out of it,
only regular files, and never more than fits into a request.
"""

from __future__ import annotations

import base64
import mimetypes
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Image", "Uploads"]

#: An uploaded image as a `data:` URL, by its id.
Image = Callable[[str], str | None]
_Row = Callable[[str], Mapping[str, Any] | None]

_KIND = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)
_MAX_NAME_LENGTH = 255
# A file that is a pipe would else be waited for.
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Uploads:
    """Files in `named`, or else in `beside`. `is_link`: the folder beside is one, and is not read."""

    def __init__(self, beside: Path, named: str | None) -> None:
        self.is_link = named is None and beside.is_symlink()
        folder = Path(named) if named is not None else beside
        self._folder = None if self.is_link or not folder.is_dir() else folder

    def images(self, row: _Row, most: int) -> Image:
        """Gives images until they are `most` bytes together. `row`: path and meta of a file, by its id."""
        left = most

        def image(id: str) -> str | None:
            nonlocal left
            about = row(id)
            content = self._read(about.get("path"), left) if about else None
            kind = _kind(about) if about else None
            if content is None or kind is None:
                return None
            left -= len(content)
            return f"data:{kind};base64,{base64.b64encode(content).decode()}"

        return image

    def _read(self, path: object, most: int) -> bytes | None:
        name = _last_part(path)
        if self._folder is None or name is None:
            return None
        try:
            handle = os.open(self._folder / name, _FLAGS)
        except (OSError, ValueError):  # it is not there, is a link, or cannot be a name
            return None
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_size > most:
                return None
            content = file.read(most + 1)
        return content if len(content) <= most else None


def _last_part(path: object) -> str | None:
    """The path is that of Open WebUI's own machine or container, of whatever kind."""
    if not isinstance(path, str):
        return None
    name = re.split(r"[/\\]", path)[-1]
    return (
        name if name not in ("", ".", "..") and "\0" not in name and len(name) <= _MAX_NAME_LENGTH else None
    )


def _kind(about: Mapping[str, Any]) -> str | None:
    meta = about.get("meta")
    told = meta.get("content_type") if isinstance(meta, dict) else None
    kind = mimetypes.guess_type(_last_part(about.get("path")) or "")[0] or told
    return kind if isinstance(kind, str) and _KIND.fullmatch(kind) else None
