"""Commands as a user runs them, and mistakes that end in one line."""

from hw2lib.commands import cli


def run(capsys, *argv):
    """(status, standard output, standard error) of one command."""
    status = cli.main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return status, out, err


def fails(capsys, *argv):
    """The one line that a wrong command ends with."""
    status, _, err = run(capsys, *argv)
    lines = [line for line in err.splitlines() if line]
    assert status == 2
    assert "Traceback" not in err
    assert lines[-1].startswith("hw2: error: ")
    return lines[-1]


def one_line(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400
    return text
