"""What a model is, how one is read, proved, kept and scored: no asyncio, no HTTP, no environment."""
