import pytest
from pydantic import TypeAdapter, ValidationError

from capsbench.planning.defaults import FIELD_DEFAULTS
from capsbench.planning.matrix import cells_of
from capsbench.planning.request import list_choices
from capsbench.presenting.naming import BUDGET, NAMING
from capsbench.records.cell import FIELDS, OF_MACHINE, Cell, fields_of, flag_of, read_declarations
from capsbench.records.declaration import Panel, Role


@pytest.fixture
def cell():
    return cells_of({"routing": "dynamic", "iters": 1, "seeds": 0, "baseline": "none"})[0]


def test_equal_fields_have_one_identity_wherever_they_come_from(cell):
    again = Cell.model_validate_json(cell.model_dump_json())
    assert again.id == cell.id
    assert len(cell.id) == 12


@pytest.mark.parametrize("field", sorted(Cell.model_fields))
def test_every_field_is_part_of_the_identity(cell, field):
    value = getattr(cell, field)
    changed = {
        bool: lambda: not value,
        int: lambda: value + 1,
        float: lambda: value / 2 + 0.1,
        str: lambda: value + "x",
        tuple: lambda: value[:1],
        dict: lambda: {**value, "new": "x"},
        type(None): lambda: 7,
    }[type(value)]()
    assert cell.model_copy(update={field: changed}).id != cell.id


def test_a_cell_is_frozen(cell):
    with pytest.raises(ValidationError) as caught:
        cell.seed = 1
    assert [error["type"] for error in caught.value.errors()] == ["frozen_instance"]


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"iterations": 0}, {"learning_rate": float("nan")}, {"decay": 1.5}, {"clip": -1.0}, {"new": 1}],
)
def test_a_cell_refuses_what_cannot_be(cell, wrong):
    with pytest.raises(ValidationError):
        Cell.model_validate({**cell.model_dump(), **wrong})


def test_the_title_is_what_a_person_would_say(cell):
    assert cell.title == "capsnet dynamic x1 tiny, digits, seed 0"
    matched = cells_of({"routing": "dynamic", "iters": 1, "seeds": 0})[1]
    assert matched.title == "matched to 56,569 tiny, digits, seed 0"
    assert cell.model_copy(update={"train_size": 100}).title == "capsnet dynamic x1 tiny, digits[100], seed 0"


def test_names_on_the_command_line():
    assert [flag_of(name) for name in ("iterations", "seed", "dataset")] == ["iters", "seeds", "dataset"]
    assert list_choices("optimizer") == ["adam", "adamw", "sgd"]
    assert list_choices("dataset") == []


def test_a_field_that_came_later_leaves_older_identities_as_they_were(make_cell):
    """A record without the field is that of the default; any other value is another experiment."""
    cell = make_cell()
    older = {name: value for name, value in cell.model_dump().items() if name not in ("warp", "compile")}
    assert Cell.model_validate(older).id == cell.id
    assert make_cell(warp="affnist").id != cell.id


def test_a_copy_has_an_identity_of_its_own() -> None:
    (cell,) = cells_of({"routing": "em", "iters": 1, "seeds": 1, "baseline": "none"})
    identity, contender = cell.id, cell.contender
    copied = cell.model_copy(update={"seed": 2})
    assert copied.id != identity
    assert copied.contender == contender == cell.model_copy(update={"seed": 0}).id
    assert cell.model_copy(update={"epochs": 99}).contender != contender
    assert copied.model_copy(update={"seed": 1}) == cell


def test_another_seed_of_a_contender_is_the_cell_with_that_seed(cell):
    other = cell.with_seed(7)
    copied = cell.model_copy(update={"seed": 7})
    assert (other, other.id, other.contender) == (copied, copied.id, copied.contender)
    assert other.id != cell.id
    assert other.contender == cell.contender


@pytest.mark.parametrize("name", sorted(Cell.model_fields))
def test_every_field_declares_a_role_and_where_it_has_a_flag_a_panel_and_one_default(name: str) -> None:
    declaration, info = FIELDS[name], Cell.model_fields[name]
    assert isinstance(declaration.role, Role)
    assert declaration.text
    assert (declaration.panel is None) == (name in ("options", "code"))
    if declaration.panel is None:
        return
    assert isinstance(declaration.panel, Panel)
    if declaration.decided_by or declaration.axis:
        assert info.is_required()
        assert not (declaration.decided_by and declaration.axis)
        assert declaration.default is None
    elif info.is_required():
        default = FIELD_DEFAULTS[name]
        assert default == declaration.default
        assert default == "auto" or TypeAdapter(info.rebuild_annotation()).validate_python(default) == default
    else:
        assert declaration.default is None


def test_roles_say_which_fields_name_pair_and_repeat_contenders() -> None:
    assert NAMING == ["dataset", "train_size", "size", "network", "routing", "iterations"]
    unpaired = {
        "network",
        "routing",
        "iterations",
        "loss",
        "reconstruction",
        "learning_rate",
        "seed",
        "options",
        "code",
        "weights",
    }
    assert {*BUDGET} == Cell.model_fields.keys() - unpaired
    assert fields_of(Role.MACHINE) == ["device", "backend", "threads", "channels_last", "fused_optimizer", "compile"]
    assert fields_of(Role.SEED, Role.SOURCE) == ["seed", "code"]
    assert OF_MACHINE == ["device", "threads"]


def test_a_field_that_declares_nothing_is_refused() -> None:
    class Larger(Cell):
        momentum: float = 0.9

    with pytest.raises(TypeError):
        read_declarations(Larger)
