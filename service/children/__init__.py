"""Child processes: their entry points, one module each, and what they share with their parent: jobs and confinement.

Only ``importing`` and ``training`` read untrusted data, and no server imports them; parents use ``jobs`` and
``lifeline``.
"""
