"""Memory and sizes on disk in the thesis's Table 8.2, compared with ours."""

from collections.abc import Sequence
from typing import Any

from attnlib.cost.benchmark import MB, title
from attnlib.records.measurements import Row
from attnlib.thesis.statements import read_thesis

SUBJECTS = {  # models of Table 8.2, by their names in thesis.toml
    ("deit_t", None): "deit_t_dp",
    ("resnet18", None): "resnet18_p",
    ("atresnet18", "channel"): "atresnet18_p",
}


def thesis_table(rows: Sequence[Row]) -> Any:
    """Table 8.2's memory and sizes on disk, beside both possible meanings of each, in MB."""
    import pandas as pd

    stated = read_thesis().statements
    columns = {
        "weights_bytes": ("disk", "weights"),
        "checkpoint_bytes": ("disk", "training checkpoint"),
        "memory_no_grad_bytes": ("memory", "no_grad"),
        "memory_autograd_bytes": ("memory", "autograd on"),
    }
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for row in rows:
        subject = SUBJECTS.get((row["model"], row["tokens"]))
        is_wanted = row["attention"] in (None, "explicit") and row["basis"] != "allocated"
        if subject and row["quantity"] in columns and is_wanted:
            about, name = columns[row["quantity"]]
            own = cells.setdefault(title(row), {})
            own[about, "thesis"] = stated[f"{about}_{subject}"].printed
            own[about, name] = f"{row['value'] / MB:,.1f}"
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("model")
