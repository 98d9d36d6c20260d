"""The model card of a network: what it is, how good it is, how it was trained, its limits and how to load it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from capsbench.measures.accuracy.spec import ACCURACY, TEST_ACCURACY
from capsbench.measures.average_precision.spec import AVERAGE_PRECISION, MEAN
from capsbench.planning.contender_defaults import defaults_of
from capsbench.predicting import Found, TrainedNetwork
from capsbench.predicting.trained import SCORES
from capsbench.presenting.contenders import summary
from capsbench.presenting.format import PERCENT, format_interval, format_si, spell_seeds
from capsbench.presenting.markdown import escape_markdown, format_code, format_pipes
from capsbench.presenting.marks import FOUND_BY, OUTDATED, SHARED
from capsbench.presenting.terminal import to_one_line
from capsbench.presenting.words import spell_value
from capsbench.records.cell import FIELDS, asked_fields, flag_of, short_name
from capsbench.records.record import TRAINING, Record
from capsbench.reporting.origin import describe_origin
from capsbench.reporting.rerun import find_repeats
from capsbench.training.evaluate import THRESHOLD

LOADING = """```python
import capsbench
from huggingface_hub import snapshot_download

network = capsbench.network(snapshot_download("{name}"))
prediction = network.predict("image.png")
print(prediction.label, prediction.scores)
```"""

UNMARKED = (OUTDATED, SHARED)
"""Marks that say nothing of a network's predictions: they are of a training that failed later, and of times."""


def write_card(found: Found, trained: TrainedNetwork, description: dict[str, Any], name: str) -> str:
    """Returns the card as Markdown behind a header of YAML, as hubs read it.

    Args:
        description: that of the network (`capsbench.exporting.describe.describe_network`).
        name: the name of the folder.
    """
    records, _ = found.store.records()
    seeds = [record for record in records if record.cell.contender == found.record.cell.contender]
    rows = {row[:3]: row.value for row in found.record.rows}
    sections = {
        "": _introduce(trained),
        "Results": _describe_results(found.record, seeds, trained),
        "Input and output": _describe_interface(description),
        "Training": _describe_training(found),
        "Data": _describe_data(trained),
        "Limits": _list_limits(found, trained, seeds),
        "Loading": _describe_loading(name),
    }
    body = [f"# {escape_markdown(found.title)}"]
    for heading, text in sections.items():
        body += [f"## {heading}", text] if heading else [text]
    return _write_header(found, rows.get(TEST_ACCURACY)) + "\n\n".join(body) + "\n"


def _write_header(found: Found, accuracy: float | None) -> str:
    """Returns the header; each value is JSON, which YAML reads as it is, whatever a record holds."""
    cell = found.record.cell
    facts: dict[str, Any] = {
        "library_name": "capsbench",
        "pipeline_tag": "image-classification" if cell.loss else "image-to-image",
        "tags": ["cnn" if cell.loss and not cell.has_routing else "capsule-networks", "capsbench"],
        "datasets": [cell.dataset],
    }
    if accuracy is not None:
        metric = {"type": "accuracy", "name": "test accuracy", "value": accuracy}
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"type": cell.dataset, "name": cell.dataset, "split": "test"},
            "metrics": [metric],
        }
        facts |= {"metrics": ["accuracy"], "model-index": [{"name": found.title, "results": [result]}]}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in facts.items()]
    return "\n".join(["---", *lines, "---", "", ""])


def _introduce(trained: TrainedNetwork) -> str:
    cell = trained.cell
    routing = f" with {escape_markdown(cell.routing or '')} routing" if cell.has_routing else ""
    kind = f"The network {escape_markdown(cell.network)}{routing}, size {escape_markdown(cell.size)}"
    capsules = "capsules of the predicted classes" if trained.has_any_number else "capsule of a class"
    decoder = f" It has a decoder, which reconstructs an image from the {capsules}." if trained.has_decoder else ""
    return (
        f"{kind}, trained on {escape_markdown(cell.dataset)} by capsbench, a benchmark of capsule networks "
        f"and CNNs.{decoder}"
    )


def _describe_results(record: Record, seeds: Sequence[Record], trained: TrainedNetwork) -> str:
    """Returns the numbers of this network, and those over all seeds on record."""
    numbers = {row.metric: row for row in record.rows if (row.measure, row.condition) == (ACCURACY, "test")}
    if not numbers:
        return "The test accuracy of this network is not on record."
    numbers |= {row.metric: row for row in record.rows if row[:3] == (AVERAGE_PRECISION, MEAN, "test")}
    rows = [[f"test {row.metric}", _format_number(row.value, row.unit)] for row in numbers.values()]
    text = format_pipes(["of this network", f"seed {record.cell.seed}"], [False, True], rows)
    if trained.has_any_number:
        text += (
            "\n\nImages show any number of classes. Accuracy is the exact match: the share of the test images of which exactly "
            f"the shown classes have a score above {THRESHOLD:g}."
        )
    over_seeds = _describe_seeds(seeds)
    return f"{text}\n\n{over_seeds}" if over_seeds else text


def _describe_seeds(seeds: Sequence[Record]) -> str:
    """Returns the mean test accuracy over the seeds with its interval."""
    table = summary(list(seeds), defaults=defaults_of)
    if table.empty or "accuracy_percent" not in table:
        return ""
    row = table.iloc[0]
    count = int(row["accuracy_n"])
    if count < 2:
        return "One network was trained with these settings, so the spread over seeds is not known."
    interval = format_interval(float(row["accuracy_percent"]), float(row["accuracy_ci95"]), 1, PERCENT)
    trained = sorted(record.cell.seed for record in seeds if TEST_ACCURACY in {number[:3] for number in record.rows})
    return (
        f"Test accuracy over {count} networks with the same settings ({spell_seeds(trained)}): {interval} %, the mean with its "
        "95 % t-interval."
    )


def _format_number(value: float, unit: str) -> str:
    if unit == "fraction":
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if unit == "images" else f"{value:.4g} {unit}"


def _describe_interface(description: dict[str, Any]) -> str:
    """Returns the shapes and meanings of input and outputs, and the names of the classes."""
    entry = description["input"]
    shape = ", ".join(map(str, entry["shape"]))
    lines = [
        f"- Input `{entry['name']}`: {entry['dtype']} [{shape}] ({entry['channels']}), pixels {entry['pixels']}. "
        f"{escape_markdown(entry['preparation'])}"
    ]
    for output in description["outputs"]:
        lines.append(f"- Output `{output['name']}`: [{', '.join(map(str, output['shape']))}], {output['meaning']}.")
    if description["outputs"][0]["name"] == SCORES:
        names = ", ".join(escape_markdown(name) for name in description["classes"])
        lines.append(f"- Classes, in the order of the scores: {names}.")
    return "\n".join(lines)


def _describe_training(found: Found) -> str:
    """Returns the fields of the cell, the command, the machine and the versions."""
    record = found.record
    fields = record.cell.model_dump(mode="json")
    rows = [
        [FIELDS[name].text.partition(":")[0].partition(";")[0], flag_of(name), spell_value(fields[name])]
        for name in asked_fields().values()
        if fields[name] is not None
    ]
    rows += [[f"option of the {name.partition('.')[0]}", short_name(name), spell_value(value)]
             for name, value in record.cell.options.items()]  # fmt: skip
    parameters = next((row.value for row in record.rows if row[:3] == (TRAINING, "parameters", "network")), None)
    facts = [f"- {term}: {escape_markdown('; '.join(lines))}" for term, lines in describe_origin([record], [])]
    if parameters is not None:
        facts.insert(0, f"- parameters: {format_si(parameters)}, those of a decoder included")
    (repeat,) = find_repeats([record], found.store.runs()).contenders.values()
    if repeat.command:
        facts.insert(0, f"- command: {format_code(to_one_line(repeat.command))}")
    return "\n".join(facts) + "\n\n" + format_pipes(["setting", "name", "value"], [False, False, True], rows)


def _describe_data(trained: TrainedNetwork) -> str:
    """Returns the source and the licence of the data set."""
    dataset = trained.dataset
    source = escape_markdown(dataset.source) if dataset.source else "not stated"
    licence = escape_markdown(dataset.licence) if dataset.licence else "not stated"
    return (
        f"- Data set: {escape_markdown(trained.cell.dataset)}\n- Source: {source}\n- Licence of the data: {licence}\n"
        "- Licence of these weights: not stated. Add one to the header of this card before you publish them, as the licence of "
        "the data allows."
    )


def _list_limits(found: Found, trained: TrainedNetwork, seeds: Sequence[Record]) -> str:
    """Returns the marks of the contender, and what holds for all networks of a benchmark."""

    def read_kept(measure: str, cell: str) -> dict[str, Any]:
        record = next(record for record in seeds if record.cell.id == cell)
        return found.store.kept(record, measure)

    lines = [
        f"{mark.name.replace('_', ' ').capitalize()}: {mark.meaning.partition(': ')[2]}."
        for mark, find in FOUND_BY.items()
        if mark not in UNMARKED and find([found.record], read_kept)
    ]
    lines += [
        "The network was trained for a comparison of architectures. It was not tested for any use, nor on images of other "
        "sources.",
    ]
    if trained.classifies:
        lines += [f"Scores are {trained.kind.meaning}.", "It gives scores for every image, also for one of no class."]
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def _describe_loading(name: str) -> str:
    own = LOADING.format(name=f"USER/{name}")
    return (
        f"{own}\n\nFrom a folder on this machine: `capsbench.network(FOLDER)`, or `capsbench predict FOLDER image.png`."
    )
