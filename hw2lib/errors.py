"""A user's mistake, said in one line."""


class UserError(Exception):
    """A user's mistake: one line that names the file or parameter, what is wrong, what is right.

    The command line prints it without a traceback and exits with status 2.
    """

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: notebooks show the line and no traceback either."""
        return [f"UserError: {self}"]
