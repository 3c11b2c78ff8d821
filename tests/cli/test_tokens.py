"""The command token, and a start with a bad file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli.main import main
from service.tokens import Token, digest_of, parse_tokens
from tests.support.documents import page


def test_it_prints_a_token_and_its_line() -> None:
    """The line admits the token; each call makes another."""
    texts = [CliRunner().invoke(main, ["token", "shop", "--scope", "read", "--scope", "batch"]).stdout for _ in "ab"]
    for text in texts:
        _, _, token, _, _, _, line, end = text.split("\n")
        (read,) = parse_tokens(Path("tokens"), line.encode())
        assert read == Token("shop", frozenset({"read", "batch"}), digest_of(token))
        assert end == ""
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a b", "--scope", "read"], "Error: the name must be"),
        (["anonymous", "--scope", "read"], "Error: anonymous is for requests without a token"),
        (["shop"], "Missing option '--scope'"),
        (["shop", "--scope", "write"], "'write' is not one of 'read', 'batch', 'users', 'metrics', 'admin'."),
    ],
)
def test_a_token_that_no_file_may_have_is_refused(arguments: list[str], sentence: str) -> None:
    """With the sentence that the server would log."""
    refused = CliRunner().invoke(main, ["token", *arguments])
    assert refused.exit_code != 0
    assert sentence in refused.output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bad_file_stops_the_start(tmp_path: Path, workers: str) -> None:
    """With one sentence, before anything is served."""
    tokens = tmp_path / "tokens"
    tokens.write_text("shop read the-token-itself\n")
    arguments = ["--tokens-file", tokens, "--port", "0", "--workers", workers, "--state-dir", tmp_path / "state"]
    command = [sys.executable, "-I", "-m", "service", "serve", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert (
        ended.stderr == f"Error: {tokens}, line 1: the last word must be the token's sha256, 64 hexadecimal digits.\n"
    )


def test_an_empty_variable_does_not_open_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a template leaves empty by mistake is not taken for unset, as it is of other settings."""
    monkeypatch.setenv("ALS_TOKENS_FILE", "")
    refused = CliRunner().invoke(main, ["serve", "--port", "70000"])  # which would stop it, too
    assert refused.exit_code == 1
    assert refused.output == ("Error: The environment variable ALS_TOKENS_FILE is empty; name a file, or unset it.\n")


def test_the_documented_token_is_the_one_in_the_documented_file() -> None:
    """docs/deploy.md shows what the command prints, and a file that a server takes."""
    text = page("docs/deploy.md").partition("## Tokens\n")[2]
    (token,) = re.findall(r"^als_\S+$", text, re.MULTILINE)
    example = text.split("```")[3]
    assert [read.name for read in parse_tokens(Path("tokens"), example.encode())] == ["shop", "prometheus", "anonymous"]
    assert text.count(f"shop read,batch {digest_of(token)}\n") == 2
