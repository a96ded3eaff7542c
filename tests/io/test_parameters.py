import pytest

from hw2lib.errors import UserError
from hw2lib.io.parameters import check, injected

RULES = {"target": ["svhn", "usps"], "seeds": (1, 9), "eta": (0.0, 1.0), "record": bool}
GOOD = {"target": "svhn", "seeds": 1, "eta": 1, "record": False}


def test_good_parameters_pass():
    check(GOOD, RULES)
    check(GOOD | {"In": ["", "target = 'usps'", "# Parameters\ntarget = 'svhn'\n"]}, RULES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": "mars"}, "parameter target='mars' is not allowed; choose 'svhn' or 'usps'"),
        ({"seeds": 0}, "seeds=0 is not allowed; a whole number from 1 to 9"),
        ({"seeds": 1.0}, "whole number"),
        ({"seeds": True}, "whole number"),
        ({"eta": "1"}, "a number from 0.0 to 1.0"),
        ({"record": "yes"}, "True or False is needed"),
        ({"In": ["# Parameters\ntargte = 'usps'\n"]}, "parameter 'targte' is unknown"),
    ],
)
def test_bad_parameters_stop_with_one_line(change, words):
    with pytest.raises(UserError, match=".") as error:
        check(GOOD | change, RULES)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_injected_names_are_those_of_papermills_cell_only():
    assert injected(["x = 1", "# Parameters\na = 1\nb: str = 'c'\n"]) == ["a", "b"]
