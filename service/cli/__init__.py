"""The command line, one module for each group of commands, with what they print; ``main`` puts them together.

A module here imports nothing at its top that trains or speaks S3: every command loads them all, ``serve`` among them.
"""
