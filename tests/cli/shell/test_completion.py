"""A shell gets the completions of whole words, an exit code, and never a traceback."""

import pytest

from capsbench.cli.commands import call_command
from capsbench.cli.flags import complete
from capsbench.cli.shell.completion import join_words


@pytest.fixture
def ask(monkeypatch, capfd, tmp_path):
    """Returns the exit code, and what a shell is given and shown, for the last of the words that bash makes of a line."""

    def ask_bash(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["capsbench"])
        monkeypatch.setenv("_CAPSBENCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["capsbench", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        code = call_command()
        printed = capfd.readouterr()
        return code, printed.out.split(), printed.err

    return ask_bash


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["run", "--routing", "em,dyn"], ["em,dynamic"]),
        (["run", "--routing", "=", "em,dyn"], ["em,dynamic"]),
        (["report", "--where", "routing", "=", "em,dyn"], ["em,dynamic"]),
        (["report", "--where", "routing!", "=", "dyn"], ["dynamic"]),
        (["report", "--where", "precision", "=", "float"], ["float32", "float64"]),
        (["reproduce", "gu2021", ":"], ["1", "2", "3"]),
        (["reproduce", "gu2021", ":", "2"], ["2"]),
        (["reproduce", "gu"], ["gu2021:1", "gu2021:2", "gu2021:3"]),
    ],
    ids=" ".join,
)
def test_bash_gets_the_end_of_a_word_that_it_has_split(ask, words, values):
    assert ask(*words) == (0, values, "")


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["report", "--where", "lr", "=", "1"], ["report", "--where", "lr=1"]),
        (["run", "--lr", "=", "1", "--seeds"], ["run", "--lr", "1", "--seeds"]),
        (["run", "--lr", "="], ["run", "--lr", ""]),
        (["run", "--dataset", "folder", ":", "a", "--lr"], ["run", "--dataset", "folder:a", "--lr"]),
        (["run", "my", ":", "Mine", ":", "full"], ["run", "my:Mine:full"]),
    ],
    ids=" ".join,
)
def test_words_are_joined_at_colons_and_equals_signs(words, joined):
    assert join_words(words) == joined


def test_a_completion_that_fails_is_silent(ask, monkeypatch):
    def fail(kind):
        raise OSError("a broken installation")

    monkeypatch.setattr(complete.registry, "names", fail)
    code, given, shown = ask("run", "--routing", "e")
    assert code != 0
    assert (given, shown) == ([], "")


def test_to_show_the_script_of_a_shell_succeeds(monkeypatch, capfd):
    monkeypatch.setenv("_CAPSBENCH_COMPLETE", "source_zsh")
    monkeypatch.setattr("sys.argv", ["capsbench"])
    assert call_command() == 0
    assert "capsbench" in capfd.readouterr().out
