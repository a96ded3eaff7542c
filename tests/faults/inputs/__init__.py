"""Bad inputs as data, a file for each kind.

In a command {d} is an empty folder, {w} a folder of small weights (`commands.make_weights`),
{empty} a word of no letter.
"""

from faults.inputs import (
    checkpoints,
    data,
    lists,
    noises,
    outputs,
    pictures,
    settings,
    weights,
)

CASES = [
    case
    for kind in (weights, settings, outputs, noises, pictures, lists, checkpoints, data)
    for case in kind.cases()
]
