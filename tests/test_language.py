"""The language of the source, as `.ci/language` counts it: names of functions, docstrings, names of locals and comments."""

from tests.test_ci_scripts import script

language = script("language")


def test_the_language_of_the_source_is_counted(tmp_path):
    for package in (*language.PACKAGES, *language.COMMENTED):
        (tmp_path / package).mkdir(parents=True, exist_ok=True)
    (tmp_path / "capsbench" / "training" / "loop.py").write_text(
        '''"""What is trained."""
def train(cell):  # why
    """Trains a cell."""
    each = cell
    for made, epoch in each:
        yield made
class Loop:
    def _run_epoch(self): ...
    def __len__(self): return 0
    @property
    def size(self): return 0
'''
    )
    counts = [(share.total, len(share.places)) for share in language.measure_language(tmp_path)]
    assert counts == [(2, 1), (3, 2), (2, 1), (11, 1)]


def test_the_language_of_the_source_is_within_its_limits():
    assert [share.name for share in language.measure_language(language.CHECKOUT) if not share.holds] == []
