import pytest

from capsbench.sources.foreign import import_package


def test_a_package_does_not_warn_of_bars_that_nobody_draws(tmp_path, monkeypatch):
    (tmp_path / "with_a_bar.py").write_text(
        "import warnings\nwarnings.warn('IProgress not found. Please update')\nX = 1\n"
    )
    (tmp_path / "old.py").write_text("import warnings\nwarnings.warn('this is old')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_package("with_a_bar").X == 1
    with pytest.warns(UserWarning, match="this is old"):
        import_package("old")


def test_a_package_that_is_not_installed():
    with pytest.raises(ModuleNotFoundError):
        import_package("nosuch_package")
