"""als-serve: an asyncio server for ALS recommendation models."""

import os

# Before NumPy is imported: a query is too small to share, and threads that wait for each other cost a
# server nine tenths of its throughput.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
