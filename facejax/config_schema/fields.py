"""Types of config values: what a value must be, in code for pydantic and in words for people."""

import re
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A group of keys. Those without a default are required; others are not allowed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def key(sentence: str, default: Any = ...) -> Any:
    """Declares a key of a `Section` with the sentence that describes it."""
    return Field(default, description=sentence)


def expected(field: FieldInfo) -> str:
    """What a value of the field must be, in words."""
    if field.title:
        return field.title
    if get_origin(field.annotation) is Literal:
        choices = [repr(choice) for choice in get_args(field.annotation)]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    inner = section(field)
    if inner is None:
        raise TypeError(f"the schema has no words for {field.annotation}")
    if get_origin(field.annotation) is dict:
        return "a dict: name -> group of keys"
    return group(inner)


def group(kind: type[Section]) -> str:
    """What a group of keys must be, in words."""
    return f"a group of keys: {', '.join(kind.model_fields)}"


def section(field: FieldInfo) -> type[Section] | None:
    """The group of keys that a field holds, or each value of its dict; None if it holds none."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def _ascending(pair):
    if pair[0] > pair[1]:
        raise ValueError(f"the first number must not be larger than the second, {pair[1]:g}")
    return pair


def _regular_expressions(rules):
    for pattern, _ in rules:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a valid regular expression: {error}") from error
    return rules


def _odd(number):
    if number % 2 == 0:
        raise ValueError("that is even")
    return number


def _one_rest(axes):
    if list(axes.values()).count(-1) > 1:
        raise ValueError("only one axis may have the size -1")
    if "data" not in axes:
        raise ValueError("there is no axis 'data', which the batch is split over")
    return axes


Switch = Annotated[bool, Field(title="True or False")]
Text = Annotated[str, Field(min_length=1, title="a non-empty text")]
OptionalText = Annotated[str | None, Field(title="a text, or None")]
Names = Annotated[tuple[Text, ...], Field(title="a tuple of texts")]
Folder = Annotated[str, Field(min_length=1, title="a path or URL")]
Source = Annotated[str, Field(title="a path or URL, or 'random'")]

Count = Annotated[int, Field(ge=0, title="a whole number, 0 or more")]
PositiveCount = Annotated[int, Field(ge=1, title="a whole number, 1 or more")]
OddCount = Annotated[int, Field(ge=1, title="an odd whole number, 1 or more"), AfterValidator(_odd)]
OptionalImageSize = Annotated[
    Annotated[int, Field(ge=1, le=4096)] | None, Field(title="a whole number, 1 to 4096; or None")
]
FaceSize = Annotated[int, Field(ge=16, le=256, title="a whole number, 16 to 256")]
Seed = Annotated[int, Field(ge=0, lt=2**32, title="a whole number, 0 to 2**32 - 1")]

Number = Annotated[float, Field(title="a number")]
OptionalNumber = Annotated[float | None, Field(title="a number, or None")]
NonNegative = Annotated[float, Field(ge=0, title="a number, 0 or more")]
Positive = Annotated[float, Field(gt=0, title="a number above 0")]
Probability = Annotated[float, Field(ge=0, le=1, title="a probability, 0 to 1")]
Unit = Annotated[float, Field(ge=0, le=1, title="a number from 0 to 1")]
Fraction = Annotated[float, Field(gt=0, le=1, title="a fraction above 0, up to 1")]
Rate = Annotated[float, Field(ge=0, lt=1, title="a number from 0 to just below 1")]

Color = Annotated[tuple[Unit, Unit, Unit], Field(title="three numbers from 0 to 1")]
Deviation = Annotated[tuple[Positive, Positive, Positive], Field(title="three numbers above 0")]
Strengths = Annotated[
    tuple[NonNegative, NonNegative, NonNegative, Annotated[float, Field(ge=0, le=0.5)]],
    Field(title="four numbers, 0 or more, the last up to 0.5"),
]
Thresholds = Annotated[tuple[Fraction, ...], Field(min_length=1, title="a tuple of fractions above 0, up to 1")]
Fractions = Annotated[
    tuple[Fraction, Fraction], AfterValidator(_ascending), Field(title="two fractions above 0, up to 1, in order")
]
Ratios = Annotated[tuple[Positive, Positive], AfterValidator(_ascending), Field(title="two numbers above 0, in order")]
Radii = Annotated[
    tuple[NonNegative, Positive], AfterValidator(_ascending), Field(title="two numbers, 0 or more, in order")
]
NonNegativePair = Annotated[tuple[NonNegative, NonNegative], Field(title="two numbers, 0 or more")]
Epochs = Annotated[
    tuple[Count, Count], AfterValidator(_ascending), Field(title="two whole numbers, 0 or more, in order")
]
Widths = Annotated[tuple[PositiveCount, ...], Field(title="a tuple of whole numbers, 1 or more; or ()")]
Milestones = Annotated[tuple[PositiveCount, ...], Field(title="a tuple of whole numbers, 1 or more")]
Steps = Annotated[
    tuple[()] | Annotated[tuple[PositiveCount, PositiveCount], AfterValidator(_ascending)],
    Field(title="two whole numbers, 1 or more, in order; or ()"),
]

Axes = Annotated[
    dict[Text, Literal[-1] | PositiveCount],
    AfterValidator(_one_rest),
    Field(title="a dict: axis -> 1 or more, or once -1"),
]
Rules = Annotated[
    tuple[tuple[str, Literal["fsdp"] | tuple[Text | None, ...]], ...],
    AfterValidator(_regular_expressions),
    Field(title="a tuple of (regular expression, 'fsdp' or a tuple with an axis or None for each dimension)"),
]
