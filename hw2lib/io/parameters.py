"""Settings, declared once: name, type, what is allowed, and the one line for what is not.

    Seed = Annotated[int, Field(ge=0, lt=2**32)]

    @settings
    class TrainConfig:
        steps: Annotated[int, Field(ge=0)]
        seed: Seed = 0

    TrainConfig(steps=-1)                       # UserError: steps=-1 is not allowed; a whole ..
    changed(config, {"steps": "500"})           # `--set steps=500`
    parser.add_argument("--seed", type=argument(Seed))
    check(globals(), seed=Seed)                 # the first call of a notebook

Values are checked by pydantic; what would be right is said from the same declaration.
"""

import argparse
import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from hw2lib.errors import UserError, check_known

S = TypeVar("S")

Count = Annotated[int, Field(ge=1)]
Batch = Annotated[int, Field(ge=1, le=2**16)]
Natural = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = Literal["quick", "full"]  # the presets of the notebooks
Data = Literal["auto", "course", "public", "embedded"]  # kinds of data files
Target = Literal["svhn", "usps", "mnistm", "uci"]
Guidance = Annotated[float, Field(ge=0, le=20)]
Weight = Annotated[float, Field(ge=-1, le=100)]  # of guidance; -1: unconditional
Steps = Annotated[int, Field(ge=2, le=1000)]  # of a sampler
Seeds = Annotated[int, Field(ge=1, le=20)]  # how many


def listed(kind: Any) -> Any:
    """A tuple of `kind`, which may be written as one text with commas."""
    split = BeforeValidator(
        lambda x: tuple(filter(None, x.split(","))) if isinstance(x, str) else x
    )
    return Annotated[tuple[kind, ...], split]


def settings(cls: type[S]) -> type[S]:
    """A frozen dataclass whose values fit their annotations (texts are read as such), else
    UserError. Positions, `replace` and `asdict` work as for any dataclass."""
    made = dataclass(cls, frozen=True, config=ConfigDict(extra="forbid"))
    init, names = made.__init__, [field.name for field in fields(made)]

    @wraps(init)
    def checked(self: S, *args: Any, **values: Any) -> None:
        values |= zip(names[: len(args)], args, strict=True)
        try:
            init(self, **values)
        except ValidationError as error:
            first = error.errors()[0]
            name = first["loc"][0]
            if name not in names:
                raise UserError(f"setting {name!r} is unknown; there are {_or(names)}") from None
            said = right(get_type_hints(made, include_extras=True)[name])
            what = "is missing" if name not in values else "is not allowed"
            given = f"={values[name]}" if name in values else ""
            raise UserError(f"{name}{given} {what}; {said} is right") from None

    made.__init__ = checked
    return made


def changed(known: S, values: Mapping[str, Any]) -> S:
    """`known` settings with some values changed, which may be texts, as `--set` gives them.

    UserError for a name that is no setting, and for a value that is not allowed.
    """
    for name in values:
        check_known("setting", name, [field.name for field in fields(known)])
    return replace(known, **values)


def choose(presets: Mapping[str, S], name: str) -> S:
    """The preset of that name; UserError for another."""
    check_known("preset", name, presets)
    return presets[name]


def valid(name: str, value: Any, kind: Any, strict: bool = False) -> Any:
    """The value as `kind` has it; UserError that names it where it does not fit."""
    try:
        return TypeAdapter(kind).validate_python(value, strict=strict)
    except ValidationError:
        raise UserError(f"{name}={value} is not allowed; {right(kind)} is right") from None


def argument(kind: Any) -> Callable[[str], Any]:
    """What argparse calls with an option's text."""

    def parse(text: str) -> Any:
        try:
            return TypeAdapter(kind).validate_python(text)
        except ValidationError:
            said = f"{text} is not allowed; {right(kind)} is right"
            raise argparse.ArgumentTypeError(said) from None

    return parse


def check(scope: Mapping[str, Any], **kinds: Any) -> None:
    """Check a notebook's parameters; call it first, as `check(globals(), seed=Seed, ...)`.

    UserError for a value that is not allowed, and for an unknown `-p name`, of which papermill only
    warns.
    """
    for name in injected(scope.get("In", ())):
        if name not in kinds:
            raise UserError(f"parameter {name!r} is unknown; there are {', '.join(kinds)}")
    for name, kind in kinds.items():
        if name not in scope:
            raise UserError(f"parameter {name!r} is missing from the notebook's parameters cell")
        valid(f"parameter {name}", scope[name], kind, strict=True)


def injected(cells: Sequence[str]) -> list[str]:
    """The names set by the cells that papermill injected, which begin with "# Parameters"."""
    trees = [ast.parse(cell) for cell in cells if cell.lstrip().startswith("# Parameters")]
    names = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return [node.id for node in names if isinstance(node.ctx, ast.Store)]


def right(kind: Any) -> str:
    """What `kind` allows, in words: "a whole number from 0 to 9", "svhn or usps or mnistm"."""
    origin = get_origin(kind)
    if origin is Literal:
        return _or(get_args(kind))
    if origin is Annotated:
        kind, *more = get_args(kind)
        limits = [limit for info in more for limit in getattr(info, "metadata", ())]
        return right(kind) + _range(kind, limits)
    if origin is tuple:
        inner = get_args(kind)
        many = "some of " if inner[-1] is ... else f"{len(inner)} with commas between, each "
        return many + right(inner[0])
    if origin is Mapping:
        return f"for each name {right(get_args(kind)[1])}"
    if origin is not None and type(None) in get_args(kind):  # X | None
        return right(next(part for part in get_args(kind) if part is not type(None)))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return names.get(kind, f"a {getattr(kind, '__name__', kind)}")


def _range(kind: type, limits: Sequence[Any]) -> str:
    said = {"multiple_of": ", a multiple of", "ge": " from", "gt": " above", "le": " to"}
    words = "".join(
        f"{said[name]} {_plain(getattr(limit, name))}"
        for name in said for limit in limits if hasattr(limit, name)
    )  # fmt: skip
    for below in (limit.lt for limit in limits if hasattr(limit, "lt")):
        words += f" to {_plain(below - 1)}" if kind is int else f" to below {below}"
    return words


def _plain(limit: float) -> str:
    """2^32 - 1 rather than 4294967295."""
    power = math.log2(limit + 1) if limit > 10**6 else 0.5
    return f"2^{power:.0f} - 1" if power == int(power) else f"{limit}"


def _or(names: Any) -> str:
    return " or ".join(map(str, names))
