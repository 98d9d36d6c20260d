import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.parts import choose_network, choose_parts, fit_loss, is_baseline


@pytest.mark.parametrize(
    ("named", "chosen"),
    [
        ((None, "em"), ("matrix-capsules", "em")),
        (("matrix-capsules", None), ("matrix-capsules", "em")),
        (("capsnet", "em"), ("capsnet", "em")),
        (("resnet", "em"), ("resnet", None)),
        (("transforming-autoencoder", None), ("transforming-autoencoder", None)),
    ],
)
def test_network_and_routing_choose_each_other(named: tuple[str | None, str | None], chosen: tuple[str, str]) -> None:
    assert choose_network(*named) == chosen


@pytest.mark.parametrize(
    ("network", "asked", "loss"),
    [
        ("matrix-capsules", None, "spread"),
        ("matrix-capsules", "margin", "margin"),
        ("resnet", None, "cross-entropy"),
        ("transforming-autoencoder", None, None),
        ("transforming-autoencoder", "margin", None),
    ],
)
def test_the_loss_is_the_one_asked_for_else_the_network_s_own(
    network: str, asked: str | None, loss: str | None
) -> None:
    parts = choose_parts({"dataset": "digits", "network": network, "routing": None, "loss": asked})
    assert (parts.loss and parts.loss.name) == loss


@pytest.mark.parametrize(
    ("network", "baseline"), [("resnet", True), ("transforming-autoencoder", True), ("capsnet", False)]
)
def test_a_network_without_routing_is_a_baseline(network: str, baseline: bool) -> None:
    assert is_baseline(network) is baseline


def test_an_unknown_network_comes_with_those_of_both_kinds() -> None:
    with pytest.raises(UsageError) as caught:
        is_baseline("capsnt")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, "network", "capsnt")
    assert {"capsnet", "resnet"} <= {*caught.value.expected}


@pytest.mark.parametrize(
    ("network", "asked", "loss"),
    [
        ("capsnet", None, "margin"),
        ("matrix-capsules", None, "sigmoid"),
        ("matrix-capsules", "margin", "margin"),
        ("matrix-capsules", "spread", "spread"),  # which is refused later
        ("resnet", None, "sigmoid"),
        ("transforming-autoencoder", None, None),
    ],
)
def test_images_of_any_number_of_classes_have_a_loss_that_is_defined_for_them(
    scattered: str, network: str, asked: str | None, loss: str | None
) -> None:
    point = {"dataset": scattered, "network": network, "routing": None, "loss": asked}
    fitted = fit_loss(choose_parts(point), point)
    assert (fitted.loss and fitted.loss.name) == loss
