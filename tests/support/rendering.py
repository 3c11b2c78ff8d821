"""Terraform's templatefile, as far as ops/bastion-init.sh needs it, for where Terraform is not."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.support import ROOT

TEMPLATE = ROOT / "ops" / "bastion-init.sh"


def render(values: Mapping[str, str]) -> str:
    """Return the script with these values in it; a name without a value, or a directive, is a KeyError."""

    def put_in(found: re.Match[str]) -> str:
        escaped, name = found.groups()
        return escaped[1:] if escaped else values[name]

    return re.sub(r"([$%][$%]\{)|[$%]\{([^}]*)\}", put_in, TEMPLATE.read_text(encoding="utf-8"))
