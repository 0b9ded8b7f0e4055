"""Reads a page of figures with Prometheus's own parser and shows it as JSON: {family: [kind, [[name, labels, value]]]}."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.name not in families, family.name
    samples = [[sample.name, sample.labels, str(sample.value)] for sample in family.samples]
    families[family.name] = [family.type, samples]
json.dump(families, sys.stdout)
