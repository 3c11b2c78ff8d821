"""What is noted while interactions are read."""

from __future__ import annotations

from service.training.account import Account


def test_a_remark_is_made_once() -> None:
    """However many files give reason for it."""
    account = Account()
    for sentence in ("one", "two", "one"):
        account.remark(sentence)
    assert account.sentences() == ["one", "two"]
