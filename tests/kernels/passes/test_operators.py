"""The import of kernels, when they are first needed. What the operators do is tested by those that there are."""

import builtins
import functools
import math

import pytest

from capsbench_kernels.passes import operators


def test_kernels_are_imported_beside_the_functions_that_an_export_replaces(monkeypatch, tmp_path):
    originals = max, min, math.pow
    (tmp_path / "recording_kernels.py").write_text("import math\nseen = max, min, math.pow\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(operators._KERNELS, "cpu", "recording_kernels")
    replaced = functools.partial(max), functools.partial(min), lambda x, y: x**y
    with pytest.MonkeyPatch.context() as trace:  # as torch 2.11 does
        for (owner, name), function in zip(
            [(builtins, "max"), (builtins, "min"), (math, "pow")], replaced, strict=True
        ):
            trace.setattr(owner, name, function)
        kernels = operators.import_kernels("cpu")
        assert (builtins.max, builtins.min, math.pow) == replaced
    assert kernels.seen == originals
    assert operators.import_kernels("cpu") is kernels
