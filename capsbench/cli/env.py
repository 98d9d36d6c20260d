"""`capsbench env`: this machine and its software."""

from __future__ import annotations

import json

from capsbench.cli.console import say
from capsbench.cli.options import DataOption, JsonOption


def env(as_json: JsonOption = False, data_dir: DataOption = None) -> None:
    """This machine and its software, as every record has them, and what runs the vote pass here."""
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
        say(f"{name:14} {'-' if value is None else value}")
