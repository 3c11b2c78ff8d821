"""The command line: one module per group of commands, with their output; ``main`` puts them together.

No module here imports training or S3 code at its top, because every command, including ``serve``, loads them all.
"""
