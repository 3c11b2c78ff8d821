"""What columns of a table are usually called, in lower case and without anything between words."""

from __future__ import annotations

import re

#: Names of the column that says which item.
ITEM = (
    *("item", "itemid", "iid", "product", "productid", "movie", "movieid", "article", "articleid", "book", "bookid"),
    *("track", "trackid", "song", "songid", "artist", "artistid", "sku", "asin", "isbn"),
)


def plain(name: str) -> str:
    """Return a column's name as it stands among the usual ones: "userId" and "USER_ID" are both "userid"."""
    return re.sub(r"[\W_]", "", name).lower()
