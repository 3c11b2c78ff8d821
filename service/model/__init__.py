"""What a model is, how one is read, proved, kept and scored: no asyncio, no HTTP, no environment.

Beside the rooms stands only what several of them share, and what goes through all of them.
"""
