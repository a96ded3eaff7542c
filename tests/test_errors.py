"""A user's mistake is one line."""

from hw2lib.errors import UserError


def test_a_notebook_shows_the_line_alone():
    assert UserError("file x is wrong")._render_traceback_() == ["UserError: file x is wrong"]
