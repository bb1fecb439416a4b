"""Where a member is, as AWS's errors tell it: `trainingJobDefinition.inputDataConfig.1.member.channelName`."""

from __future__ import annotations

_LONGEST_KEY = 256  # characters of a map's key that an error repeats


def member(path: str, name: str) -> str:
    """The member `name` of the structure at `path`, "" being the request itself."""
    lowered = name[:1].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


def item(path: str, number: int) -> str:
    """The item of the list at `path`, counted from 1."""
    return f"{path}.{number}.member"


def value(path: str, key: str) -> str:
    """The value at `key` of the map at `path`."""
    return f"{path}.{key[:_LONGEST_KEY]}.member"
