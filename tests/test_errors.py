"""A user's mistake is one line."""

import pytest

from hw2lib.errors import UserError, check_known


def test_a_notebook_shows_the_line_alone():
    assert UserError("file x is wrong")._render_traceback_() == ["UserError: file x is wrong"]


def test_a_name_that_is_none_of_those_known_is_told_with_all_of_them():
    check_known("colour", "red", ("red", "blue"))
    with pytest.raises(UserError, match="^colour 'green' is unknown; choose one of red, blue$"):
        check_known("colour", "green", ("red", "blue"))
