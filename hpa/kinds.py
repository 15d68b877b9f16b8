"""The types of settings and options with their bounds, and how these are told. Light: no pydantic until one is checked."""

import operator
from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Count = Annotated[int, Ge(1), Le(2**31 - 1)]  # so that what is computed with it stays within number formats
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]  # as far as NumPy's seeds go
Share = Annotated[float, Ge(0), Lt(1)]
Portion = Annotated[float, Gt(0), Le(1)]
FromZero = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Level = Annotated[int, Ge(0), Lt(2**16)]


@dataclass(frozen=True)
class OneOf:
    """The names that a text may be. They are looked up when a value is checked, so that a registry may grow."""

    names: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """Return pydantic's check."""
        from pydantic_core.core_schema import no_info_after_validator_function

        return no_info_after_validator_function(self.check, handler(source))

    def check(self, value: str) -> str:
        """Raise ValueError unless a text is one of the names."""
        if value not in self.names:
            raise ValueError
        return value


@dataclass(frozen=True)
class Words:
    """What a type allows, where it cannot be read from its bounds."""

    text: str


def kind(hint: Any) -> tuple[Any, list[object]]:
    """Return a type without None, and what else is said of its values."""
    marks: list[object] = []
    while get_origin(hint) in (Annotated, Union, UnionType):
        marks += getattr(hint, "__metadata__", ())
        hint = get_args(hint)[0]
    return hint, marks


def expected(hint: Any) -> str:
    """Return in words what values a type allows.

    >>> expected(Share), expected(tuple[Count, ...] | None)
    ('a number from 0 to below 1', 'a list of whole numbers from 1 to 2147483647')
    """
    own, marks = kind(hint)
    for mark in marks:
        if isinstance(mark, OneOf):
            return f"one of {', '.join(mark.names)}"
        if isinstance(mark, Words):
            return mark.text
    if get_origin(own) is tuple:
        return f"a list of {expected(get_args(own)[0])[2:].replace('number', 'numbers')}"
    number = "a whole number" if own is int else "a number"
    match [each for each in marks if isinstance(each, BaseMetadata)]:
        case [Gt(limit)]:
            return f"{number} above {limit}"
        case [Gt(limit), Le(most)]:
            return f"{number} above {limit}, at most {most}"
        case [Ge(limit)]:
            return f"{number} of at least {limit}"
        case [Ge(limit), Le(most)]:
            return f"{number} from {limit} to {most}"
        case [Ge(limit), Lt(most)]:
            return f"{number} from {limit} to below {most}"
    raise TypeError(hint)


def is_within(value: float, hint: Any) -> bool:
    """Return whether a number is finite and within the bounds of a type."""
    bounds = ((name, mark) for mark in kind(hint)[1] for name in ("gt", "ge", "lt", "le") if hasattr(mark, name))
    return isfinite(value) and all(getattr(operator, name)(value, getattr(mark, name)) for name, mark in bounds)
