"""What records measure, to be compared with what the recorded result files hold."""

import json

from hw2lib.io import results
from hw2lib.io.paths import RESULTS


def names(records):
    """Row, score and setting of each of the records, or of those of a recorded file."""
    if isinstance(records, str):
        records = results.load(records, RESULTS)["records"]
    return {json.dumps([r["row"], r["score"], r["setting"]], sort_keys=True) for r in records}
