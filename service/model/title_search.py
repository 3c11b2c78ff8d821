"""Searching titles: those that have a word, or words, beginning as asked, in whatever case.

The text is scanned as it is, a block at a time, which takes some 30 ms for a million titles of 34 bytes. So there is no
index that would have to be made, stored and kept with the titles.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Int64

_Bytes: TypeAlias = NDArray[np.uint8]
#: Each way to write one character of the query, in UTF-8.
_Spellings: TypeAlias = Sequence[bytes]

# A block takes some 2 ms. What is made of a piece of it fits into the processor's cache.
_BLOCK_BYTES = 2**21
_PIECE_BYTES = 2**17
# Letters, digits, and the bytes of all characters beyond ASCII.
_IN_WORD = np.array([byte >= 0x80 or chr(byte).isalnum() for byte in range(256)])


def search(starts: Int64, text: _Bytes, query: str) -> Iterator[Int64]:
    """Yield, a block of titles at a time, the places of those that match, ascending; int64, often none.

    starts: [titles + 1], where each title starts in ``text``, and the end; text: UTF-8. A title matches if the query,
    which is not blank, is found where a word begins, its blanks made one each. Case does not matter.
    """
    characters = [_spellings(character) for character in unicodedata.normalize("NFC", " ".join(query.split()))]
    first = 0
    while first < len(starts) - 1:
        last = max(first + 1, int(starts.searchsorted(starts[first] + _BLOCK_BYTES, "right")) - 1)
        block = text[starts[first] : starts[last]]
        if len(block):
            yield first + _in_block(starts[first : last + 1] - starts[first], block, characters)
        first = last


def _spellings(character: str) -> _Spellings:
    forms = {character, character.lower(), character.upper(), character.casefold(), character.casefold().upper()}
    return [form.encode() for form in sorted(forms)]


def _in_block(starts: Int64, text: _Bytes, characters: Sequence[_Spellings]) -> Int64:
    """Return the places of the titles in this text that match."""
    begin = end = _word_starts(starts, text, characters)
    for spellings in characters:
        if not len(begin):
            break
        begin, end = _followed_by(text, begin, end, spellings)
    titles = starts.searchsorted(begin, "right") - 1
    return np.unique(titles[end <= starts[titles + 1]])


def _word_starts(starts: Int64, text: _Bytes, characters: Sequence[_Spellings]) -> Int64:
    """Return where words begin that may match."""
    pieces = range(0, len(text), _PIECE_BYTES)
    places = np.concatenate([_candidates(text[start:], characters) + start for start in pieces])
    titles = starts.searchsorted(places, "right") - 1
    begins: Int64 = places[(starts[titles] == places) | _ends_word(text, places)]
    return begins


def _candidates(text: _Bytes, characters: Sequence[_Spellings]) -> Int64:
    """Return where in the first piece the first two bytes fit, or only one if the second may be anywhere."""
    found = _is_first_byte(text[:_PIECE_BYTES], characters[0])
    if len(characters) > 1 and all(len(spelling) == 1 for spelling in characters[0]):
        second = _is_first_byte(text[1 : _PIECE_BYTES + 1], characters[1])
        found[: len(second)] &= second
    return np.flatnonzero(found)


def _is_first_byte(text: _Bytes, spellings: _Spellings) -> NDArray[np.bool_]:
    first, *others = {spelling[0] for spelling in spellings}
    found: NDArray[np.bool_] = text == first
    for byte in others:
        found |= text == byte
    return found


def _ends_word(text: _Bytes, places: Int64) -> NDArray[np.bool_]:
    """Say whether the character before each place is none of a word: ASCII, Latin-1, or general and CJK punctuation."""
    third, second, last = (text.take(places - back, mode="clip") for back in (3, 2, 1))
    general = (third == 0xE2) & (second <= 0x81)
    ends: NDArray[np.bool_] = ~_IN_WORD[last] | (second == 0xC2) | general | ((third == 0xE3) & (second == 0x80))
    return ends


def _followed_by(text: _Bytes, begin: Int64, end: Int64, spellings: _Spellings) -> tuple[Int64, Int64]:
    """Return those of the matches so far that are followed by one of these, and where they end then."""
    found = []
    for spelling in spellings:
        follows = np.ones(len(end), np.bool_)
        for offset, byte in enumerate(spelling):
            follows &= text.take(end + offset, mode="clip") == byte
        found.append((begin[follows], end[follows] + len(spelling)))
    begins, ends = zip(*found, strict=True)
    return np.concatenate(begins), np.concatenate(ends)
