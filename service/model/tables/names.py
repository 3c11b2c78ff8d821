"""Names of columns, as people choose them."""

from __future__ import annotations

import re

#: Common names of the id column, as normalized by :func:`plain`.
ITEM_COLUMNS = (
    *("item", "itemid", "iid", "product", "productid", "movie", "movieid", "article", "articleid", "book", "bookid"),
    *("track", "trackid", "song", "songid", "artist", "artistid", "sku", "asin", "parentasin", "isbn", "stockcode"),
)


def plain(name: str) -> str:
    """Normalize a column's name for comparison: "userId" and "USER_ID" are both "userid"."""
    return re.sub(r"[\W_]", "", name).lower()
