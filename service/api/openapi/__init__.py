"""The API's own description: ``document`` makes it, of the routes and of their ``examples``."""
