"""The check that each notebook makes first.

papermill warns about an unknown `-p name` and goes on; a value that makes no sense would only be
found minutes later. `check` stops both at once, and papermill then ends with a non-zero status.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from hw2lib.errors import UserError

Rule = list | tuple | type


def check(scope: Mapping[str, object], rules: Mapping[str, Rule]) -> None:
    """Check the parameters of a notebook; call it as `check(globals(), {...})`.

    rules: name -> list of choices, or (low, high) for a number between the two (a whole number if
    both are), or a type. Errors: UserError for a name papermill injected that is not among the
    rules, and for a value that its rule does not allow.
    """
    for name in injected(scope.get("In", ())):
        if name not in rules:
            raise UserError(f"parameter {name!r} is unknown; there are {', '.join(rules)}")
    for name, rule in rules.items():
        if name not in scope:
            raise UserError(f"parameter {name!r} is missing from the notebook's parameters cell")
        if not _allowed(scope[name], rule):
            raise UserError(f"parameter {name}={scope[name]!r} is not allowed; {_say(rule)}")


def injected(cells: Sequence[str]) -> list[str]:
    """The names set by the cells that papermill injected, which begin with "# Parameters"."""
    names = []
    for cell in cells:
        if not cell.lstrip().startswith("# Parameters"):
            continue
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.append(node.id)
    return names


def _allowed(value: object, rule: Rule) -> bool:
    if isinstance(rule, list):
        return any(type(value) is type(choice) and value == choice for choice in rule)
    if isinstance(rule, type):
        return isinstance(value, rule) and (rule is bool or not isinstance(value, bool))
    low, high = rule
    kinds = int if isinstance(low, int) and isinstance(high, int) else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high


def _say(rule: Rule) -> str:
    if isinstance(rule, list):
        return "choose " + " or ".join(map(repr, rule))
    if rule is bool:
        return "True or False is needed"
    if isinstance(rule, type):
        return f"a value of type {rule.__name__} is needed"
    kind = "whole number" if all(isinstance(end, int) for end in rule) else "number"
    return f"a {kind} from {rule[0]} to {rule[1]} is needed"
