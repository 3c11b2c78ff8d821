"""Settings: what may be set, and what a wrong value says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.environment import child_environment, refuse_empty_variables, refuse_unknown_variables
from service.errors import SettingsError
from service.settings import Settings


def test_the_defaults_are_settings() -> None:
    """A server starts without any setting."""
    assert Settings().model_path == Path("als_model.pkl")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"port": 70000}, "ALS_PORT is 70000; it must be 0 to 65535."),
        ({"watch_seconds": 0.0}, "ALS_WATCH_SECONDS is 0.0; it must be more than 0."),
        ({"keep_snapshots": 0}, "ALS_KEEP_SNAPSHOTS is 0; it must be 1 or more."),
        ({"max_n": 0}, "ALS_MAX_N is 0; it must be 1 to 10000."),
        ({"query_threads": 65}, "ALS_QUERY_THREADS is 65; it must be 1 to 64."),
        ({"queue_ms": float("inf")}, "ALS_QUEUE_MS is inf; it must be more than 0, at most 60000."),
        ({"fallback": "random"}, "ALS_FALLBACK is 'random'; it must be popular or none."),
        ({"drain_seconds": -1.0}, "ALS_DRAIN_SECONDS is -1.0; it must be 0 or more."),
        ({"import_timeout_seconds": 0.0}, "ALS_IMPORT_TIMEOUT_SECONDS is 0.0; it must be more than 0."),
        ({"import_memory_mb": -1}, "ALS_IMPORT_MEMORY_MB is -1; it must be 0 or more."),
        ({"log_format": "xml"}, "ALS_LOG_FORMAT is 'xml'; it must be console or timed or json."),
        ({"log_level": "loud"}, "ALS_LOG_LEVEL is 'loud'; it must be debug or info or warning or error."),
    ],
)
def test_an_impossible_value_says_what_is_allowed(wrong: dict[str, Any], sentence: str) -> None:
    """The sentence names the variable, the value and the allowed ones."""
    with pytest.raises(SettingsError) as refusal:
        Settings(**wrong)
    assert str(refusal.value) == sentence


def test_not_a_number_is_no_duration() -> None:
    """NaN is neither more nor less than anything; it must not slip through."""
    with pytest.raises(SettingsError):
        Settings(watch_seconds=float("nan"))


def test_a_misspelt_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names an unknown ALS_* variable and the most similar setting."""
    monkeypatch.setenv("ALS_MODEL_PTAH", "/models/m.npz")
    with pytest.raises(SettingsError) as refusal:
        refuse_unknown_variables()
    assert str(refusal.value) == (
        "The environment variable ALS_MODEL_PTAH is not a setting of als-serve; did you mean ALS_MODEL_PATH?"
    )


def test_an_unrecognizable_variable_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is close, every setting is listed."""
    monkeypatch.setenv("ALS_XYZZY", "1")
    with pytest.raises(SettingsError, match=r"not a setting of als-serve; known: ALS_MODEL_PATH, ALS_STATE_DIR, "):
        refuse_unknown_variables()


@pytest.mark.parametrize("command", ["admin", "check", "accept", "health", None])
def test_the_variables_for_asking_a_server_disturb_no_other_command(
    monkeypatch: pytest.MonkeyPatch, command: str | None
) -> None:
    """They stay in the shell after als-serve admin."""
    monkeypatch.setenv("ALS_TOKEN", "als_secret")
    monkeypatch.setenv("ALS_URL", "http://127.0.0.1:8080")
    refuse_unknown_variables(command)


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_server_is_not_open_by_a_typing_error(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """ALS_TOKEN is for asking a server; one that is started with it may have been meant to have ALS_TOKENS_FILE."""
    monkeypatch.setenv("ALS_TOKEN", "als_secret")
    with pytest.raises(SettingsError, match="whose own tokens are in the file that ALS_TOKENS_FILE names"):
        refuse_unknown_variables(command)


def test_known_variables_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known settings are accepted."""
    monkeypatch.setenv("ALS_PORT", "8080")
    refuse_unknown_variables()


LINKS = {
    "als-serve": {
        "ALS_SERVE_SERVICE_HOST": "10.43.7.9",
        "ALS_SERVE_SERVICE_PORT": "8080",
        "ALS_SERVE_SERVICE_PORT_HTTP": "8080",
        "ALS_SERVE_PORT": "tcp://10.43.7.9:8080",
        "ALS_SERVE_PORT_8080_TCP": "tcp://10.43.7.9:8080",
        "ALS_SERVE_PORT_8080_TCP_PROTO": "tcp",
        "ALS_SERVE_PORT_8080_TCP_PORT": "8080",
        "ALS_SERVE_PORT_8080_TCP_ADDR": "10.43.7.9",
    },
    "als, but its port": {
        "ALS_SERVICE_HOST": "fd00::9",
        "ALS_SERVICE_PORT": "80",
        "ALS_SERVICE_PORT_WEB_UI": "80",
        "ALS_PORT_80_TCP": "tcp://[fd00::9]:80",
        "ALS_PORT_53_UDP_PROTO": "udp",
        "ALS_PORT_53_UDP_ADDR": "fd00::9",
    },
    "als-model of SCTP": {"ALS_MODEL_PORT": "sctp://10.0.0.1:1", "ALS_MODEL_PORT_1_SCTP_PROTO": "sctp"},
    "a Docker link": {
        "ALS_WEB_NAME": "/shop/als_web",
        "ALS_WEB_PORT": "udp://172.17.0.5:53",
        "ALS_WEB_PORT_80_TCP_START": "tcp://172.17.0.5:80",
        "ALS_WEB_PORT_80_TCP_END": "tcp://172.17.0.5:89",
        "ALS_WEB_PORT_80_TCP_PORT_START": "80",
        "ALS_WEB_PORT_80_TCP_PORT_END": "89",
        "ALS_WEB_ENV_PATH": "/usr/bin:/bin",
        "ALS_WEB_ENV_MOTD": "two\nlines",
    },
}


@pytest.mark.parametrize("service", LINKS)
def test_variables_of_services_are_passed_over(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    """Kubernetes and Docker set them in every container beside a service of that name; nobody wrote them."""
    for name, value in LINKS[service].items():
        monkeypatch.setenv(name, value)
    refuse_unknown_variables()


@pytest.mark.parametrize(("name", "service"), [("ALS_PORT", "als"), ("ALS_MANAGEMENT_PORT", "als-management")])
def test_a_service_that_takes_the_name_of_a_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, service: str
) -> None:
    """It is not said to be a number that is wrong, and the remedy is named."""
    monkeypatch.setenv(name, "tcp://10.43.7.9:8080")
    with pytest.raises(SettingsError) as refusal:
        refuse_unknown_variables()
    assert str(refusal.value) == (
        f"{name} is tcp://10.43.7.9:8080, which Kubernetes sets for a service called {service} (a service link); set "
        "enableServiceLinks: false in the pod's spec, or give the service another name."
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALS_MANAGMENT_PORT", "9090"),
        ("ALS_SERVICE_HOST", "example.com/path"),
        ("ALS_SERVE_SERVICE_PORT", "many"),
        ("ALS_MODEL_NAME", "als"),
    ],
)
def test_a_typo_is_not_taken_for_a_link(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Only addresses, ports and protocols are; a port with a plain number is most likely a typo."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name} is not a setting"):
        refuse_unknown_variables()


def test_the_child_is_given_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's credentials and Python options never reach the process that reads untrusted bytes."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    monkeypatch.setenv("DATABASE_URL", "postgres://user:password@host/db")
    monkeypatch.setenv("PYTHONPATH", "/app")
    environment = child_environment()
    assert not [name for name in environment if name.startswith("PYTHON")]
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    assert not {"AWS_SECRET_ACCESS_KEY", "DATABASE_URL"} & set(environment)


def test_a_variable_with_a_new_name_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade does not silently drop what the old variable set."""
    monkeypatch.setenv("ALS_ITEM_TITLES", "/shop/titles.csv")
    with pytest.raises(SettingsError, match=r"^ALS_ITEM_TITLES is now called ALS_ITEMS, which takes the same file"):
        refuse_unknown_variables()


@pytest.mark.parametrize("name", ["ALS_TOKENS_FILE", "ALS_ITEMS", "ALS_UNAVAILABLE", "ALS_HIDDEN_USERS"])
def test_an_empty_variable_that_protects_something_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It would count as unset: the server would show what it must not."""
    monkeypatch.setenv(name, "")
    with pytest.raises(SettingsError, match=rf"^The environment variable {name} is empty"):
        refuse_empty_variables()
