"""als-serve: an asyncio server for ALS recommendation models."""

__version__ = "0.1.0"
