from __future__ import annotations

import pytest

import gateway
import tyk.gateway
from tyk import _host
from tyk.gateway import TykGateway


def test_both_import_paths_are_the_same_class():
    assert gateway.TykGateway is tyk.gateway.TykGateway


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("debug", "debug"),
        ("info", "info"),
        ("warning", "warning"),
        ("error", "error"),
        ("warn", "info"),
        ("", "info"),
        (None, "info"),
        (7, "info"),
    ],
)
def test_unknown_levels_are_info(host, level, logged):
    TykGateway.log("text", level)
    assert host.messages == [(logged, "text")]


class Broken:
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("message", "logged"),
    [
        ("text", "text"),
        (12, "12"),
        (None, "None"),
        ({"a": 1}, "{'a': 1}"),
        (b"raw \xff", "raw \ufffd"),
        ("half \udc80 pair \ud800", "half \\udc80 pair \\ud800"),
        (Broken(), "<Broken whose text raised RuntimeError>"),
    ],
)
def test_any_message_is_logged(host, message, logged):
    TykGateway.log(message)
    assert host.messages == [("info", logged)]


def test_log_error_forms(host):
    TykGateway.log_error("alone")
    TykGateway.log_error("two", 2)
    try:
        raise ValueError("bad")
    except ValueError:
        TykGateway.log_error()
        TykGateway.log_error("alone")
        TykGateway.log_error("while reading", "x")
    assert host.messages == [
        ("error", "alone"),
        ("error", "two 2"),
        ("error", "ValueError: bad"),
        ("error", "alone"),
        ("error", "while reading x ValueError: bad"),
    ]


def test_a_failing_log_is_not_the_plugins_problem(host, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(host, "log", fail)
    TykGateway.log("text")
    TykGateway.log_error("text")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("text \u00e9", b"text \xc3\xa9"),
        (b"\x00\xff\x00", b"\x00\xff\x00"),
        (bytearray(b"a\x00"), b"a\x00"),
        (memoryview(b"view"), b"view"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), b"\xff\xfe"),
        ("\ud800", b"\xed\xa0\x80"),
    ],
)
def test_text_and_bytes_are_stored_as_they_are(host, value, stored):
    TykGateway.store_data("key", value, 60)
    assert host.data == {b"key": (stored, 60)}
    assert TykGateway.get_data("key") == stored
    assert TykGateway.get_data(b"key") == stored


@pytest.mark.parametrize(("ttl", "given"), [(0, 0), (-5, 0), (2**40, 2**31 - 1), (True, 1)])
def test_ttl_is_brought_into_range(host, ttl, given):
    TykGateway.store_data("key", "value", ttl)
    assert host.data[b"key"][1] == given


def test_ttl_may_be_left_out(host):
    TykGateway.store_data(key="key", value="value")
    assert host.data[b"key"] == (b"value", 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TykGateway.store_data("key", 5, 1), "store_data: value is str or bytes, not int"),
        (lambda: TykGateway.store_data(None, "v", 1), "store_data: key is str or bytes, not NoneType"),
        (lambda: TykGateway.store_data("key", "v", "60"), r"ttl is an int \(seconds\), not str"),
        (lambda: TykGateway.get_data(1), "get_data: key is str or bytes, not int"),
        (lambda: TykGateway.trigger_event("n", {}), "trigger_event: payload is str or bytes, not dict"),
    ],
)
def test_wrong_types_are_named(host, call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_missing_key_is_empty_bytes(host):
    assert TykGateway.get_data("nothing") == b""


def test_events_carry_the_api_and_the_request(host, load):
    bundle = load(
        """
        from gateway import TykGateway as tyk
        @Hook
        def MyHook(request, session, spec):
            tyk.trigger_event("Custom", '{"a": 1}')
        """
    )
    bundle.call(spec={"APIID": "api9"})
    assert host.events == [(b"Custom", b'{"a": 1}', b"api9", b"r1")]


def test_the_stand_in_stores_with_expiry_and_logs(monkeypatch, capsys):
    monkeypatch.setattr(_host.BOUND, "host", _host.StandIn())
    now = 1000.0
    monkeypatch.setattr(_host.time, "monotonic", lambda: now)
    TykGateway.store_data("short", "1", 10)
    TykGateway.store_data("long", b"\x00", 0)
    now = 1009.0
    assert TykGateway.get_data("short") == b"1"
    now = 1010.0
    assert TykGateway.get_data("short") == b""
    assert TykGateway.get_data("long") == b"\x00"
    TykGateway.log("hello", "warning")
    TykGateway.trigger_event("Custom", "payload")
    assert capsys.readouterr().err == "warning: hello\ninfo: event Custom: payload\n"
