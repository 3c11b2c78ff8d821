"""Makes a PrometheusRule of the rules in ops/prometheus, word for word.

    python ops/kubernetes/components/monitoring/generate.py > ops/kubernetes/components/monitoring/prometheusrule.yaml

A test fails if the file differs from this output.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

RULES = Path(__file__).parents[3] / "prometheus" / "rules"
HEAD = """\
# Made of ops/prometheus/rules by generate.py in this directory; change the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: als-serve
spec:
  groups:
"""


def groups(path: Path) -> str:
    """Return a file's groups of rules, indented for their new place."""
    return textwrap.indent(path.read_text(encoding="utf-8").partition("\ngroups:\n")[2], "  ")


if __name__ == "__main__":
    print(HEAD + "".join(map(groups, sorted(RULES.glob("*.yml")))), end="")
