"""``python -m service`` is ``als-serve``."""

import os
import sys

if not sys.flags.isolated:  # before any other import, which could come from the working directory
    os.execv(sys.executable, [sys.executable, "-I", "-u", *sys.orig_argv[1:]])  # noqa: S606 - this very program

from service.cli.main import main

main(prog_name="als-serve")
