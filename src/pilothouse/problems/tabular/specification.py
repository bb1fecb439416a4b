"""The feature specification: which columns are features, and of which types, in a user's own words."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, cast

from pilothouse.data.profile import ColumnType
from pilothouse.errors import DataError

TYPES = ("numeric", "categorical", "text", "datetime", "sequence")


@dataclass(frozen=True)
class FeatureSpecification:
    """`names`: the columns to use, None for all. `types`: types given for some of them."""

    names: list[str] | None = None
    types: dict[str, ColumnType] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes) -> FeatureSpecification:
        """The JSON document at FeatureSpecificationS3Uri; `DataError` if it isn't one."""
        try:
            document = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"The feature specification is not valid JSON: {error}.") from error
        if not isinstance(document, dict) or not document.keys() & {"FeatureAttributeNames", "FeatureDataTypes"}:
            raise DataError(
                "The feature specification must be a JSON object with FeatureAttributeNames (a list of columns), "
                "FeatureDataTypes (an object from column to type), or both."
            )
        return cls(_names(document.get("FeatureAttributeNames")), _types(document.get("FeatureDataTypes")))

    def check(self, columns: Collection[str], target: str, weight: str | None) -> None:
        """`DataError` unless the names are among the input `columns`, without the target and the sample weight."""
        for name in [*(self.names or []), *self.types]:
            if name in (target, weight):
                role = "target" if name == target else "sample weight"
                raise DataError(f"The feature specification names {name!r}, which is the {role} column. Remove it.")
            if name not in columns:
                raise DataError(
                    f"The feature specification names {name!r}, which is not a column of the data. "
                    "Names are case-sensitive; correct or remove it."
                )
        extra = [name for name in self.types if self.names is not None and name not in self.names]
        if extra:
            raise DataError(
                f"The feature specification gives a type for {extra[0]!r}, which is not in its FeatureAttributeNames. "
                "Add it there, or remove its type."
            )


def _names(given: Any) -> list[str] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
        raise DataError(
            "FeatureAttributeNames in the feature specification must be a list of one or more column names."
        )
    return cast(list[str], given)


def _types(given: Any) -> dict[str, ColumnType]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise DataError("FeatureDataTypes in the feature specification must be an object from column name to type.")
    for name, kind in given.items():
        if kind not in TYPES:
            raise DataError(
                f"The feature specification gives {name!r} the type {kind!r}; the types are {', '.join(TYPES)}."
            )
    return cast(dict[str, ColumnType], given)
