"""The parts of a content: of a message, of a tool's output.

Rules: one text is a plain string, as templates like it best. What has no form in Chat Completions is refused,
and never left out. Files are kept by nobody here: which ids there are knows the upstream alone, which is sent
each, and refuses what it does not know.
"""

from __future__ import annotations

from typing import Any

from sidecar.dialects.responses.refusal import list_of_objects, refused, text_in

__all__ = ["Part", "content_of", "parts_of", "text_of"]

Part = dict[str, Any]

_TEXTS = ("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text")


def parts_of(content: Any, where: str) -> list[Part]:
    """A content as parts of Chat Completions. Raises `BadRequest`."""
    if isinstance(content, str):
        return [_text(content)]
    return [_part(each, f"{where}[{at}]") for at, each in enumerate(list_of_objects(content, where))]


def content_of(parts: list[Part]) -> str | list[Part]:
    """The content of a message: a plain string where it is one text, or nothing."""
    if len(parts) > 1 or any(each["type"] != "text" for each in parts):
        return parts
    return parts[0]["text"] if parts else ""


def text_of(content: Any, where: str, between: str = "") -> str:
    """A content that may hold nothing but texts, as one. Raises `BadRequest`."""
    parts = parts_of(content, where)
    for each in parts:
        if each["type"] != "text":
            raise refused("only texts can stand here", where)
    return between.join(each["text"] for each in parts)


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _part(part: Part, where: str) -> Part:
    kind = part.get("type")
    if kind in _TEXTS:
        return _text(text_in(part, "refusal" if kind == "refusal" else "text", where))
    if kind == "input_image":
        return _image(part, where)
    if kind == "input_file":
        return _file(part, where)
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    raise refused(f"a part of the type `{kind}` has no form in chat completions", f"{where}.type")


def _image(part: Part, where: str) -> Part:
    url = part.get("image_url")
    if not isinstance(url, str):
        raise refused("an image needs an `image_url`: the upstream knows no file by its id", where)
    detail = part.get("detail")
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}


def _file(part: Part, where: str) -> Part:
    if part.get("file_url"):
        raise refused("a file cannot be given by its URL: send `file_data`", f"{where}.file_url")
    told = {name: part[name] for name in ("file_data", "file_id", "filename") if part.get(name) is not None}
    file = {name: text for name in told if (text := text_in(told, name, where))}
    if "file_data" not in file and "file_id" not in file:
        raise refused("a file needs `file_data` or a `file_id`", where)
    return {"type": "file", "file": file}
