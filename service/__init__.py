"""als-serve: an asyncio server for ALS recommendation models."""

import os

# Set before NumPy is imported: queries are too small to split over threads, which would cost nine tenths of throughput.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
