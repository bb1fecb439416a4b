"""botocore's shapes as tables: members, types, limits, and what is done with each member here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from docs.generate import reading

_MOST_VALUES = 24
_LONGEST_PATTERN = 48
_UNITS = {"string": "characters", "blob": "bytes", "list": "items", "map": "entries"}
_SINGULAR = {" characters": " character", " bytes": " byte", " items": " item", " entries": " entry"}


class Structures:
    """The structures of a page: each is shown once, where it is first needed or below.

    `told` are texts by "Shape.Member", which go before what code says. `unread` is the word for unnamed members.
    """

    def __init__(self, told: Mapping[str, str], unread: str) -> None:
        self._told = told
        self._unread = unread
        self._used: set[str] = set()
        self._waiting: list[StructureShape] = []
        self._known: set[str] = set()

    def table(self, shape: StructureShape, unread: str | None = None) -> str:
        """The members of a structure."""
        lines = ["| member | type | limits | here |", "|---|---|---|---|"]
        for name, member in shape.members.items():
            here = self._here(shape, name, member, unread or self._unread)
            shown = f"**{name}**" if name in shape.required_members else name
            lines.append(f"| {shown} | {self._type(member, here)} | {limits(member)} | {here} |")
        return "\n".join(lines)

    def rest(self) -> Iterator[tuple[str, str]]:
        """Name and table of each structure that tables have linked to; call it last."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            for shape in waiting:
                yield shape.name, self.table(shape)

    def unused(self) -> set[str]:
        """What `told` says of members that are nowhere on the page."""
        return self._told.keys() - self._used

    def _here(self, shape: StructureShape, name: str, member: Shape, unread: str) -> str:
        key = f"{shape.name}.{name}"
        if key in self._told:
            self._used.add(key)
            return self._told[key]
        return "" if reading.is_named(name, member) else unread

    def _type(self, shape: Shape, here: str) -> str:
        if isinstance(shape, ListShape):
            return f"list of {self._type(shape.member, here)}"
        if isinstance(shape, MapShape):
            return f"map to {self._type(shape.value, here)}"
        if not isinstance(shape, StructureShape):
            return str(shape.type_name)
        if here or not shape.members:
            return str(shape.name)
        if shape.name not in self._known:
            self._known.add(shape.name)
            self._waiting.append(shape)
        return f"[{shape.name}](#{shape.name.lower()})"


def limits(shape: Shape) -> str:
    """The constraints of a shape, and of what a list of it holds, in words."""
    parts = [_size(shape)]
    if isinstance(shape, StringShape):
        parts.append(_values(shape.enum))
        parts.append(_pattern(shape.metadata.get("pattern", "")))
    elif isinstance(shape, ListShape) and (inner := limits(shape.member)):
        parts.append(f"each {inner}")
    elif isinstance(shape, MapShape) and (inner := limits(shape.value)):
        parts.append(f"values {inner}")
    elif shape.metadata.get("union"):
        parts.append("exactly one member")
    return "; ".join(part for part in parts if part)


def _size(shape: Shape) -> str:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    unit = " " + _UNITS[shape.type_name] if shape.type_name in _UNITS else ""
    if low == 0 and unit:
        low = None
    if (high or low) == 1:
        unit = _SINGULAR.get(unit, unit)
    if low is None and high is None:
        return ""
    if low is None:
        return f"at most {high}{unit}"
    if high is None:
        return f"at least {low}{unit}"
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _values(values: list[str]) -> str:
    return ", ".join(values) if len(values) <= _MOST_VALUES else f"one of {len(values)} values"


def _pattern(pattern: str) -> str:
    if not pattern or pattern in (".*", "[\\S\\s]*") or len(pattern) > _LONGEST_PATTERN or "`" in pattern:
        return ""
    return "`" + pattern.replace("|", "\\|") + "`"
