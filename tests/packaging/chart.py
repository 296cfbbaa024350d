"""Renders the Helm chart by Helm's own engine (PyPI: helm-python-sdk), without a cluster."""

import helm_python as helm
import yaml

from processes import ROOT

CHART = ROOT / "charts/kt"
TOPOLOGIES = ["per-team", "hosted", "hybrid"]


def example(topology):
    """The values of the chart's example for a topology."""
    return yaml.safe_load((CHART / f"examples/{topology}.yaml").read_text())


def merged(values, change):
    """Values with others over them, as Helm merges two files of values."""
    both = {name: merged(values.get(name), change.get(name)) if name in values and name in change
            else change.get(name, values.get(name)) for name in [*values, *change]} if isinstance(change, dict) \
        and isinstance(values, dict) else change
    return both


class Rendered:
    """What a release would be."""

    def __init__(self, values, name="kt", namespace="prod"):
        with helm.Chart.load(CHART) as chart:
            chart.validate_schema(values)
            files = chart.render(values, name=name, namespace=namespace)
        self.notes = next(text for path, text in files.items() if path.endswith("NOTES.txt"))
        self.all = [document for path, text in sorted(files.items()) if path.endswith(".yaml")
                    for document in yaml.safe_load_all(text) if document]

    def of(self, kind, name=None):
        return [it for it in self.all if it["kind"] == kind and name in (None, it["metadata"]["name"])]

    def one(self, kind, name="kt"):
        [found] = self.of(kind, name)
        return found

    def workloads(self):
        return [*self.of("Deployment"), *self.of("StatefulSet")]

    def pods(self):
        """Every pod's specification: of workloads, jobs and tests."""
        return [*(it["spec"]["template"]["spec"] for it in [*self.workloads(), *self.of("Job")]),
                *(it["spec"] for it in self.of("Pod"))]


def containers(pod):
    """A pod's containers by name, those that start before the others included."""
    return {it["name"]: it for it in [*pod.get("initContainers", []), *pod["containers"]]}


def flags(arguments):
    """The value of each flag of a command line."""
    found, at = {}, 0
    while at < len(arguments):
        name, is_joined, value = arguments[at].partition("=")
        if name.startswith("--"):
            if not is_joined and at + 1 < len(arguments) and not arguments[at + 1].startswith("--"):
                at += 1
                value = arguments[at]
            found[name] = value
        at += 1
    return found
