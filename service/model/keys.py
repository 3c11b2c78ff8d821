"""The keys of a pickled dict: what they are called, and what they are called instead in a user's file."""

from __future__ import annotations

from service.errors import SettingsError

#: The keys that are read; the first three are required, and of each map either direction.
KEYS = (
    *("model", "user_id_map", "product_id_map", "reverse_user_id_map", "reverse_product_id_map", "sparse_matrix"),
    *("item_weights", "activity_discount", "training_facts"),
)


def keys_of(given: str | None) -> dict[str, str]:
    """Return {key: the key in the file} of "key=other,key=other". Raises SettingsError."""
    keys = {}
    for part in filter(None, map(str.strip, (given or "").split(","))):
        ours, _, theirs = part.partition("=")
        if ours not in KEYS or not theirs:
            raise SettingsError(
                f"ALS_PICKLE_KEYS (or --key) has {part!r}; it must be KEY=YOURS, as in user_id_map=user_mapping, where "
                f"KEY is one of {', '.join(KEYS)}."
            )
        keys[ours] = theirs
    return keys
