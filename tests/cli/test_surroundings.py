"""Proxies, variables and addresses that a shell hands on: mended, or refused in a sentence; never a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("gradio")

import httpx
from pages import MODEL, ROOT, running

from iclight.cli.serve import parse_options, run_page
from iclight.cli.surroundings import PROXIES, address_of, check_variables, mend_proxies
from iclight.errors import SettingsError


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """A shell without proxies and without variables of the page's."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("GRADIO_SERVER"):
            monkeypatch.delenv(name)


def mended(monkeypatch, **variables) -> list[str]:
    for name in (*PROXIES, "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "x")  # whatever is changed is put back afterwards
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    mend_proxies(said.append)
    httpx.Client().close()
    return said


@pytest.mark.parametrize(
    ("name", "text", "left"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080", "socks5://127.0.0.1:1080"),
        ("all_proxy", "socks://127.0.0.1:7897/", "socks5://127.0.0.1:7897/"),
        ("HTTPS_PROXY", " http://user:secret@proxy:3128 ", "http://user:secret@proxy:3128"),
        ("http_proxy", "127.0.0.1:7890", "127.0.0.1:7890"),
        ("HTTP_PROXY", "", None),
        ("HTTP_PROXY", "  ", None),
    ],
)
def test_proxies_are_handed_on_as_httpx_reads_them(name, text, left, monkeypatch):
    assert mended(monkeypatch, **{name: text}) == []
    assert os.environ.get(name) == left


@pytest.mark.parametrize("text", ["socks4://127.0.0.1:1", "vless://x", "http://[bad", "http://h:99999", "http://"])
def test_a_proxy_that_nothing_here_speaks_is_left_out_and_said(text, monkeypatch):
    said = mended(monkeypatch, ALL_PROXY=text)
    assert len(said) == 1 and "ALL_PROXY" in said[0] and "socks5" in said[0]
    assert "ALL_PROXY" not in os.environ


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("intranet.example", "intranet.example"),
        ("a.example, .b.example  *.c.example host:80", "a.example,.b.example,*.c.example,host:80"),
        ("10.0.0.0/8,fe80::/10,::1/128,[::1],[fe80::1]", "10.0.0.0/8,::1,fe80::1"),
        ("<local>,a b@c", "a"),
        ("", ""),
    ],
)
def test_exceptions_from_proxies_are_handed_on_and_this_machine_is_one(text, left, monkeypatch):
    mended(monkeypatch, NO_PROXY=text)
    mend_proxies(pytest.fail)
    own = ["localhost", "127.0.0.1", "::1"]
    expected = ",".join(dict.fromkeys([*filter(None, left.split(",")), *own]))
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == expected


def test_no_proxy_for_anything_stays_so(monkeypatch):
    mended(monkeypatch, NO_PROXY="a.example, *")
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "*"


def test_empty_variables_count_as_none_and_wrong_ones_are_named(monkeypatch):
    monkeypatch.setenv("GRADIO_SERVER_NAME", " ")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "")
    check_variables()
    assert "GRADIO_SERVER_NAME" not in os.environ and "GRADIO_SERVER_PORT" not in os.environ
    assert address_of(None, None) == ("127.0.0.1", None)
    for name, text in (("GRADIO_SERVER_PORT", "abc"), ("GRADIO_SERVER_PORT", "80000"), ("GRADIO_NUM_PORTS", "-1")):
        with monkeypatch.context() as patch:
            patch.setenv(name, text)
            with pytest.raises(SettingsError, match=f"{name} is '{text}'"):
                check_variables()


@pytest.mark.parametrize("port", ["0", "80000", "-1", "x", "1e3", "٣", "9" * 50])
def test_a_port_out_of_range_is_a_wrong_call(port, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_options("fc", ["--port", port])
    assert "from 1 to 65535" in capsys.readouterr().err


def test_an_address_is_looked_at_before_anything_is_loaded(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run_page("fc", ["--port", str(port)]) == 1
        assert f"Port {port} of 127.0.0.1 is taken" in capsys.readouterr().err
    assert run_page("fc", ["--host", "192.0.2.1"]) == 1  # set aside for documentation: nobody's
    assert "is no address of this machine" in capsys.readouterr().err
    assert run_page("fc", ["--host", "no such host"]) == 1
    assert "no address is known by that name" in capsys.readouterr().err


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_ipv6_is_taken_with_and_without_brackets():
    for host in ("::1", "[::1]"):
        assert address_of(host, None) == ("[::1]", None)
    assert address_of("::", None) == ("[::]", None)


@pytest.mark.parametrize("text", ["light", "/a b", "ftp://x/light", "/light?x=1", "https://"])
def test_a_root_path_is_a_path_or_an_address(text):
    assert parse_options("fc", ["--root-path", "/light/"]).root_path == "/light"
    assert parse_options("fc", ["--root-path", "https://example.org/light"]).root_path == "https://example.org/light"
    with pytest.raises(SystemExit):
        parse_options("fc", ["--root-path", text])


def test_a_page_opens_in_the_worst_of_shells(tmp_path: Path, monkeypatch):
    for name, value in {
        "ALL_PROXY": "socks://127.0.0.1:9/",
        "https_proxy": "socks5://127.0.0.1:9",
        "NO_PROXY": "fe80::/10, [::1] ::1/128",
        "GRADIO_SERVER_NAME": "",
        "GRADIO_SERVER_PORT": "",
        "GRADIO_NUM_PORTS": "",
    }.items():
        monkeypatch.setenv(name, value)
    with running("app.py", tmp_path, *MODEL, "--root-path", "/light") as page:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        text = opener.open(page.url, timeout=60).read().decode()
    assert "/light" in text
    assert "Traceback" not in page.log.read_text()


def test_whatever_else_goes_wrong_at_the_start_is_one_sentence(tmp_path):
    (tmp_path / "gradio.py").write_text("raise RuntimeError('no \\x1b[31mgradio today')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py")],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the page could not be started (RuntimeError: no \\x1b[31mgradio today)" in done.stderr
    assert "Traceback" not in done.stderr
