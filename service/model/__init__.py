"""Models: reading, validation, storage and scoring, without asyncio, HTTP or the environment.

Only modules that several of the packages here share are directly in this one.
"""
