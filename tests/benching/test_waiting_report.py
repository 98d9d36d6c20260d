"""The table of as imported and passive."""

import pandas as pd

from capsbench.benching import waiting_report
from capsbench_kernels.bench.waiting import COLUMNS

ROWS = [
    dict(zip(COLUMNS, ("mine", load, pair, 2, 0.012 * ratio, 0.012, ratio), strict=True))
    | {"processor": "A CPU", "commit": "abc", "dirty": True}
    for load, ratios in (("idle", (1.0, 1.1, 1.2)), ("busy", (2.0,)))
    for pair, ratio in enumerate(ratios)
]


def test_the_table_has_a_line_for_each_program_and_load():
    readable = waiting_report.to_readable(ROWS)
    assert readable.to_dict("records") == [
        {
            **{"program": "mine", "machine": "idle", "as imported": "13.2 ms", "passive": "12.0 ms"},
            **{"ratio": "1.10 (1.00 to 1.20)", "pairs": "3"},
        },
        {
            **{"program": "mine", "machine": "busy", "as imported": "24.0 ms", "passive": "12.0 ms"},
            **{"ratio": "2.00 (2.00 to 2.00)", "pairs": "1"},
        },
    ]


def test_every_pair_is_written(tmp_path):
    files = waiting_report.write_report(ROWS, tmp_path, ["command: `mine`"])
    assert [path.name for path in files] == ["waiting.csv", "waiting.md"]
    assert pd.read_csv(tmp_path / "waiting.csv")["ratio"].tolist() == [1.0, 1.1, 1.2, 2.0]
    page = (tmp_path / "waiting.md").read_text()
    assert "GOMP_SPINCOUNT=1000" in page
    assert "A CPU, 2 threads" in page
    assert "commit: abc with uncommitted changes" in page
