"""``python -m service`` is ``als-serve``."""

from service.cli import main

main()
