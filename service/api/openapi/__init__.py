"""The API's OpenAPI description: ``document`` generates it from the routes and their ``examples``."""
