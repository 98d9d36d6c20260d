"""The sizes of the parts of a folder."""

from capsbench.pruning.sizes import Size, measure_parts, sum_sizes


def test_each_part_counts_its_files_at_any_depth(tmp_path):
    for name in ("records/a.json", "kept/affine/b", "kept/affine/.c", "README", "own/kept/d", "kept/e"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    sizes = {name: size for name, size in measure_parts(tmp_path).items() if size.files}
    assert sizes == {"records": Size(1, 5), "kept": Size(3, 15), "other": Size(2, 10)}


def test_sizes_are_summed():
    assert sum_sizes([Size(1, 5), Size(2, 7)]) == Size(3, 12)
    assert sum_sizes([]) == Size(0, 0)
