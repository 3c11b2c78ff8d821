"""Import the package before any test imports NumPy: it keeps BLAS on one thread, as in the server."""

import service  # noqa: F401 - for what importing it does
