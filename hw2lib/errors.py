"""A user's mistake, said in one line."""

from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake: one line that names the file or parameter, what is wrong, what is right.

    The command line prints it without a traceback and exits with status 2.
    """

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: notebooks show the line and no traceback either."""
        return [f"UserError: {self}"]


def check_known(what: str, name: str, names: Iterable[str]) -> None:
    """UserError for a name that is none of `names`, which it lists."""
    if name not in names:
        raise UserError(f"{what} {name!r} is unknown; choose one of {', '.join(names)}")
