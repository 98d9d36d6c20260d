"""An option is given once: of two values the last would be kept without a word. A path is one that the system can look up."""

import pytest
from typer.core import TyperGroup, TyperOption

from capsbench.cli.commands import app
from capsbench.cli.shell.app import StrictCommand
from capsbench.cli.shell.interrupt import Interrupted
from capsbench.errors import Kind, UsageError
from capsbench.planning.request import ONE_LIST


def commands(group, path=()):
    """Every command of the command line as (its words, the command)."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


OPTIONS = [
    pytest.param(command, option, id=f"{' '.join(words)} {option.opts[0]}")
    for words, command in commands(app.made)
    for option in command.params
    if isinstance(option, TyperOption) and not option.multiple and option.name != "help"
]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_of_every_command_is_refused_when_given_twice(command, option):
    once = [option.opts[0]] if option.is_flag else [option.opts[0], "1"]
    with pytest.raises(UsageError) as caught:
        command.make_context(command.name, [*once, *once])
    name = option.opts[0].removeprefix("--").replace("-", "_")
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, name)


def fill(command, parameter, value):
    """The words that give a command a value of one parameter, and ``x`` of all others that it requires."""
    words = []
    for other in command.params:
        if other is parameter or other.required:
            words += [other.opts[0]] if isinstance(other, TyperOption) else []
            words.append(value if other is parameter else "x")
    return words


PATHS = [
    pytest.param(command, parameter, id=f"{' '.join(words)} {parameter.opts[0]}")
    for words, command in commands(app.made)
    for parameter in command.params
    if "Path" in str(parameter.type_descriptor.annotation)
]


@pytest.mark.parametrize(("command", "parameter"), PATHS)
def test_every_path_that_cannot_be_looked_up_is_refused_by_its_flag(command, parameter, tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (tmp_path / ("n" * 300), loop / "x.png"):
        with pytest.raises(UsageError) as caught:
            command.make_context(command.name, fill(command, parameter, str(path)))
        error = caught.value
        assert (error.kind, error.file) == (Kind.INACCESSIBLE, path)
        name = parameter.opts[0].removeprefix("--").replace("-", "_")
        assert error.flag == (name if isinstance(parameter, TyperOption) else parameter.metavar.removesuffix("..."))


def test_paths_that_may_be_made_later_are_left_to_the_command(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing" / "x", tmp_path / "file" / "x"):
        context = app.made.commands["show"].make_context("show", ["--to", str(path)])
        assert context.params["to"] == path


def test_a_command_with_a_path_of_too_long_a_name_ends_with_a_line_and_exit_code_2(capsbench, tmp_path):
    done = capsbench("show", "--to", "n" * 300, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("capsbench: --to nnn")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "flags", "expected"),
    [
        ("run", ["--iters", "1", "--iters=3"], ONE_LIST),
        ("run", ["--baseline", "matched", "--baseline", "resnet"], ONE_LIST),
        ("report", ["--by", "iters", "--by", "lr"], ONE_LIST),
        ("report", ["--to", "here", "--to", "there"], "give it once"),
    ],
)
def test_what_takes_several_values_says_that_they_go_into_one_list(command, flags, expected):
    with pytest.raises(UsageError) as caught:
        app.made.commands[command].make_context(command, flags)
    assert caught.value.expected == expected


def test_what_is_documented_as_repeatable_stays_so():
    context = app.made.commands["run"].make_context("run", ["--axis", "squash=unit", "--axis", "leaky=yes"])
    assert list(context.params["axis"]) == ["squash=unit", "leaky=yes"]
    context = app.made.commands["report"].make_context("report", ["--where", "iters=1", "--where", "seeds=0"])
    assert list(context.params["where"]) == ["iters=1", "seeds=0"]


def test_a_command_with_an_option_twice_ends_with_exit_code_2(capsbench, tmp_path):
    done = capsbench("run", "--routing", "em", "--routing", "dynamic", cwd=tmp_path)
    assert done.returncode == 2
    assert "--routing" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["status", "results/mine"], "a results folder is given by --out results/mine"),
        (["env", "torch"], "see capsbench env --help"),
    ],
)
def test_a_word_that_nothing_takes_is_refused_with_a_remedy(words, remedy):
    name, word = words
    with pytest.raises(UsageError) as caught:
        app.made.commands[name].make_context(f"capsbench {name}", [word])
    assert (caught.value.kind, caught.value.expected) == (Kind.CONFLICT, remedy)
    assert word in str(caught.value)


@pytest.mark.parametrize("step", ["parse_args", "invoke"])
def test_ctrl_c_is_told_also_while_flags_are_parsed(monkeypatch, step):
    def press(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(StrictCommand, step, press)
    with pytest.raises(Interrupted):
        app(["list"], standalone_mode=False)
