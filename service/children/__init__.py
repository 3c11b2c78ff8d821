"""Entry points of child processes, one module for each, and what they share with their parent: jobs and confinement.

Alone in this room, ``importing`` and ``training`` read what nobody vouches for, and no server imports them; a parent
knows ``jobs`` and ``lifeline``.
"""
