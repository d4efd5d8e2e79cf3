"""Contents of files, for people and as JSON."""

import base64
from typing import Any

from cli.terminal.clean import line
from cli.terminal.screen import Screen


def say(screen: Screen, name: str, content: bytes) -> None:
    """Write a file's name and its lines."""
    screen.say(f"── {name} ──", style="bold")
    if b"\0" in content:
        screen.say(f"({len(content)} bytes, not text)", style="dim")
        return
    lines = content.split(b"\n")
    is_ended = lines[-1] == b""
    for each in lines[:-1] if is_ended else lines:
        screen.say(line(each))
    if content and not is_ended:
        screen.say("(no line feed at the end)", style="dim")


def to_json(content: bytes) -> Any:
    """Return UTF-8 text as a string, and anything else as {"base64": ...}."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}
