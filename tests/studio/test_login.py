"""A page behind a password: nothing but the login page answers, and guessing is slow."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from attacks import API, TOY, Visitor, at_once, png
from pages import MODEL, running

pytest.importorskip("gradio")


KEY = "a-key-that-nobody-guesses"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("login")
    doors = ("--auth", "anna:correct-horse", "--api-key", KEY, "--allow-host", "*.lamp.example")
    with running("app.py", folder, *MODEL, *doors) as page:
        yield page


@pytest.fixture
def visitor(site):
    return Visitor(site.url)


def log_in(visitor: Visitor, password: str) -> int:
    return visitor.http.post("/login", data={"username": "anna", "password": password}).status_code


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/config"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/gradio_api/heartbeat/x"),
        ("GET", "/gradio_api/startup-events"),
        ("GET", "/gradio_api/app_id"),
        ("GET", "/gradio_api/token"),
        ("GET", "/gradio_api/user"),
        ("GET", "/logout"),
        ("POST", "/gradio_api/cancel"),
        ("POST", "/gradio_api/reset"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/run/history"),
        ("POST", "/gradio_api/call/history"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/component_server"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("POST", "/"),
        ("GET", "/login"),
    ],
)
def test_without_login_nothing_answers(visitor, method, path):
    answer = visitor.http.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 401
    visitor.http.cookies.set("access-token-unsecure-x", "forged")
    assert visitor.http.request(method, path, json={} if method == "POST" else None).status_code == 401


def test_the_login_page_tells_nothing_of_the_page(visitor):
    answer = visitor.http.get("/")
    assert answer.status_code == 200 and "auth_required" in answer.text
    assert '"components":[],"dependencies":[]' in answer.text


def test_wrong_logins_wait_longer_each_time_and_one_at_a_time(site, visitor):
    started = time.monotonic()
    assert log_in(visitor, "wrong") == 400
    first = time.monotonic() - started
    started = time.monotonic()
    assert [log_in(visitor, "wrong"), log_in(visitor, "wrong")] == [400, 400]
    assert time.monotonic() - started > 3 * first
    # Meanwhile there is no second line to guess on.
    assert sorted(at_once(8, lambda _: log_in(Visitor(site.url), "wrong"))).count(429) == 7
    assert log_in(visitor, "correct-horse") == 200


def test_a_slow_or_wrong_visitor_keeps_nobody_else_out(site, visitor):
    host, port = site.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        for number in range(16):  # addresses are easily forged from this machine
            guess = Visitor(site.url, **{"x-forwarded-for": f"10.0.0.{number}"})
            assert log_in(guess, "wrong") in (400, 429)
        assert log_in(visitor, "correct-horse") == 200


def test_a_login_of_any_length_is_cut_off(site):
    host, port = site.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        line.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("odd", ['a={"b": 1}', "x[y]=1", "a b=1", "=1", 'k="un'])
def test_other_programs_odd_cookies_log_nobody_out(visitor, odd):
    """Cookies are shared by all ports of localhost."""
    assert log_in(visitor, "correct-horse") == 200
    own = "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items())
    bare = Visitor(visitor.url)
    assert bare.http.get("/config", headers={"cookie": f"{odd}; {own}"}).status_code == 200


def test_another_site_cannot_log_anybody_out(visitor):
    assert log_in(visitor, "correct-horse") == 200
    cross = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert visitor.http.get("/logout", headers=cross).status_code == 403
    assert visitor.http.get("/", headers=cross).status_code == 200  # but a link may lead here
    assert visitor.http.get("/config").status_code == 200


def test_whoever_logged_in_is_served(visitor):
    assert log_in(visitor, "correct-horse") == 200
    assert visitor.http.get("/config").status_code == 200
    kind, said = visitor.ask(image=visitor.file(png()))
    assert kind == "complete", said


def test_names_that_were_allowed_are_served_and_their_pages_may_ask(visitor):
    """As behind a proxy that hands on its own Host, or the visitor's."""
    assert log_in(visitor, "correct-horse") == 200
    for headers, status in (
        ({"host": "lights.lamp.example"}, 200),
        ({"origin": "https://lights.lamp.example"}, 200),
        ({"host": "lights.lamp.example:7860", "origin": "https://lights.lamp.example:7860"}, 200),
        ({"host": "lights.lamp.example:7860", "origin": "http://lights.lamp.example:9999"}, 403),
        ({"host": "localhost", "origin": "http://lights.lamp.example:9999"}, 403),
        ({"host": "lamp.example.evil"}, 403),
        ({"host": "evil@lights.lamp.example"}, 403),
        ({"host": "lights.lamp.example/x"}, 403),
        ({"origin": "https://evil.example"}, 403),
    ):
        assert visitor.http.get("/config", headers=headers).status_code == status, headers


def test_the_api_path_is_what_the_tests_think_it_is(visitor):
    assert log_in(visitor, "correct-horse") == 200
    assert visitor.http.get(f"{API}/app_id").status_code == 200


# --- programs ---------------------------------------------------------------------------------------------------------


def test_a_program_with_the_key_is_served_beside_the_page_and_nothing_else_takes_the_key(site):
    program = Visitor(site.url, authorization=f"Bearer {KEY}")
    answer = program.http.post("/v1/images/edits", files={"image": png()}, data=TOY)
    assert answer.status_code == 200 and answer.json()["data"][0]["b64_json"]
    assert program.http.get("/config").status_code == 401
    nobody, wrong = Visitor(site.url), Visitor(site.url, authorization=f"Bearer {KEY}x")
    for asking in (nobody, wrong):
        refused = asking.http.post("/v1/images/edits", files={"image": png()}, data=TOY)
        assert refused.status_code == 401 and "API key" in refused.json()["error"]["message"]
        assert asking.http.get("/metrics").status_code == 401
    assert nobody.http.get("/health").json() == {"status": "ok"}


def test_one_model_runs_at_a_time_for_the_page_and_for_programs(site):
    program, visitor = Visitor(site.url, authorization=f"Bearer {KEY}"), Visitor(site.url)
    assert log_in(visitor, "correct-horse") == 200
    assert visitor.http.get("/v1/models").status_code == 200, "a login does as well as the key"

    def told(name: str) -> float:
        lines = program.http.get("/metrics").text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(name)))

    kinds: list[str] = []
    slow = {"image": visitor.file(png()), "width": 256, "height": 256, "steps": 12}
    asking = threading.Thread(target=lambda: kinds.append(visitor.ask(**slow)[0]))
    asking.start()
    while not told("iclight_running"):
        time.sleep(0.02)
    second = threading.Thread(
        target=lambda: kinds.append(
            str(program.http.post("/v1/images/edits", files={"image": png()}, data=TOY).status_code)
        )
    )
    second.start()
    while not told("iclight_waiting"):
        assert second.is_alive() and asking.is_alive()
        time.sleep(0.02)
    asking.join()
    second.join()
    assert sorted(kinds) == ["200", "complete"] and not told("iclight_running") and not told("iclight_waiting")
