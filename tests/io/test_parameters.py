"""Settings are declared once: what fits is taken, as a value or a text; the rest is one line."""

import math
from dataclasses import asdict, fields, replace
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from hw2lib.errors import UserError
from hw2lib.io.parameters import (
    Count,
    Guidance,
    Positive,
    Seed,
    Seeds,
    Share,
    Target,
    argument,
    changed,
    check,
    injected,
    listed,
    right,
    settings,
)


@settings
class Some:
    steps: Count
    rate: Positive = 0.5
    off: listed(Literal["blur", "noise"]) = ()
    flag: bool = False
    seed: Seed = 0


@given(st.integers(1, 10**9), st.floats(1e-9, 1e9), st.booleans(), st.integers(0, 2**32 - 1))
def test_what_fits_survives_as_a_value_and_as_a_text(steps, rate, flag, seed):
    some = Some(steps, rate, ("noise",), flag, seed)
    texts = {key: str(value) for key, value in asdict(some).items() if key != "off"}
    assert changed(Some(1), {**texts, "off": "noise"}) == some
    assert replace(some) == some and [f.name for f in fields(some)] == list(asdict(some))


@given(st.integers(max_value=0), st.floats(max_value=0) | st.sampled_from([math.inf, math.nan]))
def test_what_does_not_fit_is_one_line_that_says_what_is_right(steps, rate):
    with pytest.raises(UserError, match=r"^steps=-?\d+ is not allowed; a whole number from 1 is"):
        Some(steps)
    with pytest.raises(UserError, match=r"^rate=\S+ is not allowed; a number above 0 is right$"):
        Some(1, rate=rate)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"steps": "x"}, "steps=x is not allowed; a whole number from 1 is right"),
        ({"steps": "1.5"}, "steps=1.5 is not allowed; a whole number from 1 is right"),
        ({"off": "blur,hue"}, "off=blur,hue is not allowed; some of blur or noise is right"),
        ({"flag": "maybe"}, "flag=maybe is not allowed; true or false is right"),
        ({"seed": 2**32}, "seed=4294967296 is not allowed; a whole number from 0 to 2^32 - 1 is"),
        ({"step": 1}, "setting 'step' is unknown; choose one of steps, rate, off, flag, seed"),
    ],
)
def test_a_wrong_setting_is_one_line(values, line):
    with pytest.raises(UserError) as error:
        changed(Some(1), values)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


def test_a_missing_and_an_unknown_setting_are_named():
    with pytest.raises(UserError, match="^steps is missing; a whole number from 1 is right$"):
        Some()
    with pytest.raises(UserError, match="^setting 'colour' is unknown; there are steps or rate"):
        Some(1, colour="red")


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        Some(1).steps = 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Share, "a number from 0 to 1"),
        (Annotated[float, Field(ge=0, lt=1)], "a number from 0 to below 1"),
        (Annotated[int, Field(ge=8, le=64, multiple_of=8)], "a whole number, a multiple of 8 from"),
        (tuple[Count, Count], "2 with commas between, each a whole number from 1"),
        (Count | None, "a whole number from 1"),
        (str, "a text"),
    ],
)
def test_what_is_right_in_words(kind, words):
    assert right(kind).startswith(words)


def test_an_options_text_is_read_or_refused():
    assert argument(Count)("12") == 12
    with pytest.raises(Exception, match="0 is not allowed; a whole number from 1 is right"):
        argument(Count)("0")


# --- notebooks -----------------------------------------------------------------------------------

KINDS = {"target": Target, "seeds": Seeds, "w": Guidance, "record": bool}
GOOD = {"target": "svhn", "seeds": 1, "w": 1, "record": False}


def test_good_parameters_pass():
    check(GOOD, **KINDS)
    check(GOOD | {"In": ["", "target = 'usps'", "# Parameters\ntarget = 'svhn'\n"]}, **KINDS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": "mars"}, "target=mars is not allowed; svhn or usps or mnistm or uci is"),
        ({"seeds": 0}, "parameter seeds=0 is not allowed; a whole number from 1 to 20 is right"),
        ({"seeds": 1.0}, "whole number"),
        ({"seeds": True}, "whole number"),
        ({"w": "1"}, "a number from 0 to 20"),
        ({"record": "yes"}, "true or false is right"),
        ({"In": ["# Parameters\ntargte = 'usps'\n"]}, "parameter 'targte' is unknown"),
    ],
)
def test_bad_parameters_stop_with_one_line(change, words):
    with pytest.raises(UserError) as error:
        check(GOOD | change, **KINDS)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_parameter_that_the_notebook_lacks_is_named():
    with pytest.raises(UserError, match="parameter 'w' is missing from the notebook's parameters"):
        check({key: value for key, value in GOOD.items() if key != "w"}, **KINDS)


def test_injected_names_are_those_of_papermills_cell_only():
    assert injected(["x = 1", "# Parameters\na = 1\nb: str = 'c'\n"]) == ["a", "b"]
