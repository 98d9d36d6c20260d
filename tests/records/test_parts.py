import pytest

from capsbench import registry
from capsbench.records.parts import Part, Parts
from capsbench.routing import EMRouting
from tests.making import make_capsules


def test_a_capsule_network_has_four_parts() -> None:
    parts = Parts.from_cell(make_capsules())
    assert [*parts] == [
        Part("dataset", "digits"), Part("network", "matrix-capsules"), Part("routing", "em"), Part("loss", "spread")
    ]  # fmt: skip
    assert [*parts.by_field] == ["dataset", "network", "routing", "loss"]
    assert (parts.has_routing, parts.is_self_supervised) == (True, False)


def test_a_cnn_is_registered_as_a_baseline_and_stands_in_the_field_of_the_network() -> None:
    parts = Parts.from_names("digits", "resnet", None, "cross-entropy")
    assert parts.by_field["network"] == Part("baseline", "resnet")
    assert (parts.has_routing, parts.is_self_supervised, str(parts.network)) == (False, False, "baseline resnet")
    assert [*parts.by_field] == ["dataset", "network", "loss"]


def test_a_network_without_a_loss_is_self_supervised() -> None:
    parts = Parts.from_names("digits", "transforming-autoencoder", None, None)
    assert parts.is_self_supervised
    assert [*parts.by_field] == ["dataset", "network"]


def test_a_component_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []
    get = registry.get
    monkeypatch.setattr(registry, "get", lambda kind, name: looked_up.append((kind, name)) or get(kind, name))
    part = Part("routing", "em")
    assert looked_up == []
    assert part.component is EMRouting
    assert part.component is EMRouting
    assert looked_up == [("routing", "em")]
    assert part == Part("routing", "em")


def test_the_names_of_parts_that_nobody_trusts_can_be_read() -> None:
    parts = Parts.from_cell(make_capsules(routing="nowhere:Mine"))
    assert parts.routing == Part("routing", "nowhere:Mine")


def test_built_in_parts_have_no_digests() -> None:
    parts = Parts.from_cell(make_capsules())
    assert (parts.digest_sources(), parts.digest_modules()) == ({}, {})
