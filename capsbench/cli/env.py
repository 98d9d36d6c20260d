"""`capsbench env`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json

from capsbench.cli.console import print_line
from capsbench.cli.options import DataOption, JsonOption


def env(as_json: JsonOption = False, data_dir: DataOption = None) -> None:
    """Show this machine and its software as in every record, and the implementation of the vote pass."""
    import torch

    from capsbench.data.base import data_folder
    from capsbench.records.provenance import provenance
    from capsbench_kernels import choose_backend

    device = "cuda" if torch.cuda.is_available() else "cpu"
    facts = {**provenance(), "vote pass": choose_backend("auto", device), "data folder": str(data_folder(data_dir))}
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print_line(f"{name:14} {'-' if value is None else value}")
