"""deploy/prometheus/README.md names every metric that Doorbell's processes have, with its labels, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "deploy" / "prometheus" / "README.md").read_text()

_KINDS = {"Counter", "Gauge", "Histogram", "CounterMetricFamily", "GaugeMetricFamily"}
# Of hosts, which ansible/ has written to files for the node exporter.
_OF_HOSTS = {"doorbell_certificate_end_timestamp_seconds", "doorbell_backup_finished_timestamp_seconds"}  # fmt: skip


def declared() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name and labels of each metric in the code."""
    for path in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in _KINDS:
                continue
            match node.args:
                case [ast.Constant(value=str(name)), *more]:
                    kind = ast.unparse(node.func)
                    given = [each.value for each in node.keywords if each.arg == "labels"]
                    listed = [e for e in [*more[1:2], *given] if isinstance(e, ast.List)]
                    labels = tuple(ast.literal_eval(listed[0])) if listed else ()
                    is_counter = kind.startswith("Counter")
                    yield name.removesuffix("_total") + "_total" * is_counter, labels


def told() -> dict[str, tuple[str, ...]]:
    found = re.findall(r"`(doorbell_[a-z_]+)(?:\{([a-z, ]+)\})?`", README)
    return {name: tuple(labels.split(", ")) if labels else () for name, labels in found}


def test_the_readme_names_every_metric_with_its_labels() -> None:
    """Whoever looks for a figure finds it, and nothing that is not there."""
    code = dict(declared())
    assert len(code) > 30
    assert {n: labels for n, labels in told().items() if n not in _OF_HOSTS} == code
