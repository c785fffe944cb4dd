"""A served page as its worst visitors meet it: each kind of attack, and afterwards a decent request that works."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from attacks import API, Visitor, at_once, png
from pages import MODEL, ROOT, running
from PIL import Image

pytest.importorskip("gradio")

import gradio as gr

from iclight.errors import ImageError
from iclight.studio.service.pages import ASSETS, check_given
from iclight.studio.service.storage import Storage

REFUSED = "A file of this request was not uploaded here: upload it first, then name it by its path."
SECRET = (13, 200, 77)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with running("app.py", tmp_path_factory.mktemp("attacked"), *MODEL) as page:
        yield page


@pytest.fixture
def visitor(site):
    visitor = Visitor(site.url)
    yield visitor
    kind, said = visitor.ask(image=visitor.file(png()))
    assert kind == "complete", said  # whatever was done, a decent visitor is served afterwards
    visitor.http.close()


@pytest.fixture(scope="module")
def secret(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("private") / "secret.png"
    path.write_bytes(png(SECRET))
    return path


def files_of(site) -> Path:
    """The page's upload folder: the test sees the server's disk, a visitor does not."""
    return next((site.log.parent / "gradio").glob("page-*/files"))


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["bare", "meta", "list", "url", "dots"])
@pytest.mark.parametrize("there", [True, False])
def test_no_endpoint_reads_a_path_of_the_servers_disk_or_tells_what_is_there(visitor, secret, form, there):
    path = str(secret) if there else "/nothing/here.png"
    file = {
        "bare": {"path": path},
        "meta": {"path": path, "meta": {"_type": "gradio.FileData"}},
        "list": [{"image": {"path": path}}],
        "url": {"path": None, "url": f"file://{path}"},
        "dots": {"path": str(Path(visitor.upload(png())).parent / ".." / ".." / ".." / ".." / ".." / ".." / path)},
    }[form]
    for name, data in (("matte", [file, None, "none"]), ("recipe", [file])):
        kind, said = visitor.call(name, data)
        assert kind == "error"
        assert said["error"] == REFUSED
    kind, said = visitor.ask(image=file, finish="native", finish_strength=0, finish_background="original")
    assert (kind, said["error"]) == ("error", REFUSED)


def test_no_event_of_the_page_reads_a_path_private_ones_neither(visitor, secret):
    config = visitor.config()
    takes = [one for one in config["dependencies"] if one["inputs"]]
    assert len(takes) > 30
    for one in takes:
        data = [{"path": str(secret)} for _ in one["inputs"]]
        if not one["queue"]:
            answer = visitor.http.post(f"{API}/run/predict", json={"data": data, "fn_index": one["id"]})
            assert answer.status_code == 500 and answer.json()["error"] == REFUSED
            continue
        message = visitor.event(one["id"], data)
        assert not message["success"] and message["output"]["error"] == REFUSED


@pytest.mark.parametrize("path", ["pyproject.toml", str(ROOT / "pyproject.toml"), "http://127.0.0.1:9/x.png"])
def test_a_form_that_is_put_back_brings_no_file_of_the_folder_the_page_was_started_in(visitor, path):
    config = visitor.config()
    kinds = {one["id"]: one["props"].get("elem_id") for one in config["components"]}
    refill = next(one for one in config["dependencies"] if [kinds[i] for i in one["inputs"]] == ["kept"])
    names = [kinds[one] for one in refill["outputs"]][:-2]
    usual = {"workflow": "fc", "light": "left", "prompt": "dawn"}
    files = {"image", "background", "environment", "light-map", "mask", "behind"}
    assert files < set(names)
    form = json.dumps([path if name in files else usual.get(name) for name in names])
    answer = visitor.http.post(f"{API}/run/predict", json={"data": [form], "fn_index": refill["id"]})
    given = dict(zip(names, answer.json()["data"], strict=False))
    assert given["prompt"] == "dawn" and not any(given[name] for name in files)


def test_no_answer_gives_a_file_that_is_not_the_pages(tmp_path):
    """Whatever a handler makes of a request: Gradio would hand out all of the folder that it was started in."""
    storage = Storage(tmp_path / "files")
    own, other = storage.root / "own.png", ROOT / "pyproject.toml"
    own.write_bytes(png())
    with gr.Blocks():
        image, gallery, file, words = gr.Image(), gr.Gallery(), gr.File(), gr.Textbox()
    for good, bad in (
        ([image], [str(other)]),
        ([gallery], [[(str(own), "seed"), (str(other), "seed")]]),
        ([words, gallery], ["x", gr.update(value=[str(other)])]),
        ([file], [[str(own), str(other)]]),
        ([file], ["http://127.0.0.1:9/x.png"]),
    ):
        with pytest.raises(ImageError, match="not among the page's own"):
            check_given(good, bad, storage)
    shown = [str(own), [(str(own), str(other))], [own, ASSETS / "cat.jpg"], str(other)]
    check_given([image, gallery, file, words], shown, storage)


def test_a_pipe_a_device_or_a_link_out_of_the_folder_is_no_upload(visitor, site, secret, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    link = files_of(site) / "link.png"
    link.symlink_to(secret)
    os.mkfifo(files_of(site) / "pipe.png")
    for path in (
        tmp_path / "pipe",
        "/dev/ptmx",
        "/dev/zero",
        "/proc/self/mem",
        link,
        files_of(site) / "pipe.png",
        "\0",
    ):
        kind, said = visitor.call("matte", [{"path": str(path)}, None, "none"])
        assert (kind, said["error"]) == ("error", REFUSED), path


def test_a_picture_inside_of_the_request_is_one_of_the_visitors_files(visitor, site):
    before = {path for path in files_of(site).rglob("*") if path.is_file()}
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    kind, _ = visitor.call("matte", [{"url": url}, None, "none"])
    assert kind == "complete"
    assert len(set(files_of(site).glob("*.img")) - before) == 1
    for broken in ("data:image/png;base64,####", "data:image/png,plain", "data:"):
        kind, said = visitor.call("matte", [{"url": broken}, None, "none"])
        assert kind == "error" and "base64" in said["error"]


def inputs_of(queued: bool | None = None) -> set[str]:
    """The classes of the components that the server's events take, of all or of those in or beside the queue."""
    from iclight.studio.layout import build
    from iclight.studio.service.model_pool import ModelPool

    site = build("fc", ModelPool("fc", {}), lambda function: function)
    events = [event for event in site.fns.values() if event.fn and (queued is None or bool(event.queue) == queued)]
    return {type(component).__name__ for event in events for component in event.inputs}


def test_no_event_takes_a_file_through_gradios_own_components():
    """They decode whatever Pillow knows before any check of ours, PostScript among it."""
    assert {"PictureInput", "PanoramaInput", "Canvas"} <= inputs_of()
    gradios = {"Image", "ImageEditor", "Sketchpad", "Gallery", "File", "ImageSlider", "AnnotatedImage", "UploadButton"}
    assert inputs_of().isdisjoint(gradios)


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["loop.png", "loop.eps"])
def test_postscript_is_no_picture_and_no_recipe(visitor, name):
    endless = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{} loop\n"
    file = visitor.file(endless, name)
    for kind, said in (
        visitor.call("recipe", [file]),
        visitor.call("matte", [file, None, "none"]),
        visitor.ask(image=file),
        visitor.ask(image=visitor.file(png()), mask=file),
    ):
        assert kind == "error" and said["error"] and "/" not in said["error"]


def test_a_damaged_tiff_never_shows_another_visitors_photo(visitor):
    """A strip that cannot be decoded must not come out as what lay in that memory before."""
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), (90, 90, 90)).save(buffer, "TIFF", compression="jpeg")
    whole = buffer.getvalue()
    sides = whole.index(b"\xff\xc0") + 5  # the JPEG of the strip says that it is lower than the strip
    broken = whole[:sides] + b"\0\x08" + whole[sides + 2 :]
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        visitor.call("matte", [visitor.file(png(colour, (96, 64))), None, "none"])
        kind, said = visitor.call("matte", [visitor.file(broken, "broken.tif"), None, "none"])
        assert kind == "error" and said["error"]


# --- the queue --------------------------------------------------------------------------------------------------------


def test_nothing_that_decodes_or_lights_goes_past_the_queue(visitor):
    file = visitor.file(png())
    answers = at_once(40, lambda _: visitor.run("matte", [file, None, "none"]).status_code)
    assert set(answers) <= {404, 503}
    # What remains beside the queue moves text and sliders; it takes no picture.
    assert inputs_of(queued=False).isdisjoint({"PictureInput", "PanoramaInput", "Canvas"})


def test_whoever_forgets_all_of_it_gets_no_result_of_what_still_ran(site):
    token = {"x-iclight-tab": uuid.uuid4().hex}
    visitor, reloaded = Visitor(site.url, **token), Visitor(site.url, **token)
    forget = next(one["id"] for one in visitor.config()["dependencies"] if one["api_name"] == "forgotten")
    ended: list[Any] = []
    slow = {"image": visitor.file(png()), "width": 256, "height": 256, "steps": 100}
    asking = threading.Thread(target=lambda: ended.append(visitor.ask(**slow)))
    asking.start()
    while not ended:
        reloaded.http.post(f"{API}/run/predict", json={"data": [], "fn_index": forget})
        asking.join(0.2)
    assert ended[0][0] == "error" and ended[0][1]["error"] == "Cancelled."
    assert visitor.call("history", [])[1] == [[]]


def test_more_than_the_queue_holds_is_refused_in_words(site, visitor):
    file = visitor.file(png())
    body = {"image": file, "width": 64, "height": 64, "steps": 1, "highres_scale": 1, "matting": "none"}

    def join(number: int) -> tuple[int, str]:
        answer = visitor.http.post(f"{API}/call/v2/relight", json={**body, "steps": 100 if number < 0 else 1})
        return answer.status_code, answer.text

    answers = [join(-1), *at_once(59, join)]  # the first keeps the others waiting
    taken = [event for status, event in answers if status == 200]
    refused = [words for status, words in answers if status == 503]
    assert 1 <= len(taken) <= 24 and len(refused) == 60 - len(taken)
    assert all("full" in words.lower() or "many" in words.lower() for words in refused)
    for event in taken:  # nobody's request is lost for it
        with visitor.http.stream("GET", f"{API}/call/relight/{json.loads(event)['event_id']}") as lines:
            assert any("complete" in line for line in lines.iter_lines())


# --- hosts and origins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "localhost.evil.example", "10.0.0.7", "[::2]", ""]
)
def test_only_the_names_the_page_was_started_for_are_served(site, visitor, host):
    for method, path in (("GET", "/"), ("GET", "/config"), ("POST", f"{API}/upload"), ("OPTIONS", f"{API}/upload")):
        headers = {"host": host, "origin": f"http://{host}", "access-control-request-method": "POST"}
        answer = visitor.http.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST."])
def test_the_machines_own_names_are_served(site, visitor, host):
    port = site.url.rsplit(":", 1)[1].rstrip("/")
    assert visitor.http.get("/config", headers={"host": f"{host}:{port}"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1:444", "x"])
def test_another_sites_page_can_do_and_read_nothing(visitor, origin):
    for method, path in (
        ("POST", f"{API}/upload"),
        ("POST", f"{API}/queue/join"),
        ("POST", f"{API}/run/history"),
        ("POST", f"{API}/cancel"),
        ("GET", "/config"),
        ("OPTIONS", f"{API}/queue/join"),
    ):
        headers = {"origin": origin, "access-control-request-method": "POST"}
        answer = visitor.http.request(method, path, headers=headers)
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
    cross = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert visitor.http.get(f"{API}/heartbeat/x", headers=cross).status_code == 403


def test_a_page_is_framed_by_nobody_and_guesses_no_types(visitor):
    answer = visitor.http.get("/")
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["deep_link?session_hash=x", "runs", "run-history/buckets", "proxy=http://127.0.0.1/", "vibe-code", "dev/reload"],
)
def test_what_no_page_uses_is_not_there(visitor, path):
    assert visitor.http.get(f"{API}/{path}").status_code == 404


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_request_of_any_length_is_cut_off(site, visitor):
    host, port = site.url.removeprefix("http://").rstrip("/").split(":")
    for path in ("run/history", "upload", "queue/join"):
        with socket.create_connection((host, int(port)), timeout=60) as line:
            head = f"POST {API}/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 40}\r\n\r\n"
            line.sendall(head.encode())
            assert line.recv(100).startswith(b"HTTP/1.1 413")
    # Of no declared length: read no further than the limit, and refused.
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(b"POST /gradio_api/run/history HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(200):  # megabytes
                line.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
            line.sendall(b"0\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 4")


def test_a_painting_cannot_fill_the_memory(visitor):
    canvas = next(one["id"] for one in visitor.config()["components"] if one["type"] == "imageeditor")
    for index in ("1000000000", "-5", "x", "3"):
        form = {"type": "layer", "index": index, "id": "a" * 100_000, "session_hash": "s", "component_id": str(canvas)}
        answer = visitor.http.post(
            f"{API}/component_server", data={**form, "fn_name": "accept_blobs"}, files={"file": ("a.png", png())}
        )
        assert answer.status_code in (200, 422, 500)


def memory(site) -> float:
    """MB that the server holds."""
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def test_json_cannot_unfold_to_gigabytes(site, visitor):
    before = memory(site)
    for body in (
        b'{"data":[' + b"{}," * 4_000_000 + b'0],"session_hash":"x"}',
        b'{"data":[' + b"[" * 4_000_000,
        b'{"data":[' + b"0," * 4_000_000 + b"0]}",
    ):
        for path in ("run/history", "call/relight", "queue/join", "component_server"):
            marked = visitor.http.post(f"{API}/{path}", content=b"\xef\xbb\xbf" + body[:1000])
            assert marked.status_code == 422, path
            answer = visitor.http.post(f"{API}/{path}", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 413, path
    assert memory(site) < before + 200


@pytest.mark.parametrize("key", ["a" * 65, "a/b", "a b", "", 7, ["x"]])
def test_a_sessions_key_is_a_short_word(visitor, key):
    for path in ("run/history", "call/history", "queue/join", "component_server"):
        answer = visitor.http.post(f"{API}/{path}", json={"data": [], "fn_index": 0, "session_hash": key})
        assert answer.status_code == 422, path
    if isinstance(key, str) and key:
        form = {"type": "background", "index": "", "id": "p", "session_hash": key, "component_id": "1", "fn_name": "x"}
        posted = visitor.http.post(f"{API}/component_server", data=form, files={"file": ("a.png", png())})
        assert posted.status_code == 422
        assert visitor.http.get(f"{API}/queue/data", params={"session_hash": key}).status_code == 422


def test_a_form_is_looked_at_in_one_pass(visitor):
    kind = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"name=session_hash\n" * 500_000, b'name="session_hash"; a=b\r\n\r\n' + b"a" * 65 + b"\r\n"):
        answer = visitor.http.post(f"{API}/component_server", content=body, headers=kind)
        assert answer.status_code == 422 and answer.elapsed.total_seconds() < 10


def test_uploads_that_break_off_leave_nothing(site, visitor):
    host, port = site.url.removeprefix("http://").rstrip("/").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=60) as line:
            head = (
                f"POST {API}/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000000\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            )
            part = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
            line.sendall(head.encode())
            for _ in range(2):
                line.sendall(part.encode() + bytes(4_000_000) + b"\r\n")
    deadline = time.monotonic() + 60
    while any(files_of(site).glob("tmp*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(files_of(site).glob("tmp*"))


def test_whoever_sends_nothing_keeps_nobody_out(site, visitor):
    host, port = site.url.removeprefix("http://").rstrip("/").split(":")
    with contextlib.ExitStack() as lines:
        for number in range(60):
            line = lines.enter_context(socket.create_connection((host, int(port)), timeout=60))
            path, length = ("upload", 1 << 29) if number % 2 else ("run/history", 20)
            line.sendall(f"POST {API}/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode())
        assert visitor.run("history", []).status_code == 200
        assert visitor.http.get("/").status_code == 200
        visitor.upload(png((7, 7, 7), (900, 900)))


def test_examples_belong_to_the_page(site, visitor):
    """A visitor who uploads an example's content does not get it removed with the visitor's other files."""
    coffee = ROOT / "iclight" / "studio" / "assets" / "coffee.jpg"
    path = Path(visitor.upload(coffee.read_bytes(), "coffee.jpg"))
    assert path.is_file()
    storage = Storage(files_of(site), per_visitor=1)
    storage.pin()
    storage.keep(path, "a")
    storage.keep(storage.new_folder("a"), "a")
    assert path.is_file()


def test_no_header_gives_the_page_another_address(visitor):
    for header in ("x-forwarded-host", "x-gradio-server"):
        answer = visitor.http.get(f"{API}/info", headers={header: "evil.example", "x-forwarded-proto": "https"})
        assert "evil.example" not in answer.text
        assert "evil.example" not in visitor.http.get("/", headers={header: "https://evil.example"}).text


def test_odd_forms_of_a_painting_change_nothing(visitor):
    canvas = next(one["id"] for one in visitor.config()["components"] if one["type"] == "imageeditor")
    for data in (None, {}, "x", {"data": {}}, {"data": {"type": 1}, "files": []}):
        body = {"data": data, "fn_name": "accept_blobs", "component_id": canvas, "session_hash": "s"}
        assert visitor.http.post(f"{API}/component_server", json=body).status_code in (200, 422)


# --- what comes back --------------------------------------------------------------------------------------------------


def test_text_from_files_and_requests_is_never_markup(visitor):
    loud = "<img src=x onerror=alert(1)>![a](http://evil.example/a.png)\x1b]0;x\x07"
    for kind, said in (
        visitor.ask(image=visitor.file(png()), light=loud),
        visitor.ask(image=visitor.file(png()), matting=loud * 10_000),
        visitor.ask(image=visitor.file(png()), finish=loud * 10_000),
        visitor.ask(image=visitor.file(png()), light_colour=loud * 10_000),
    ):
        assert kind == "error" and said["error"]
        assert "<" not in said["error"] and "\x1b" not in said["error"] and len(said["error"]) < 1500


def test_forged_clicks_are_ignored(visitor):
    events = [
        one
        for one in visitor.config()["dependencies"]
        if any(name in ("select", "click") for _, name in one["targets"])
    ]
    assert events
    for one in events:
        for index in ("x", None, [1, 2], 10**9, -1, {"a": 1}):
            if one["queue"]:
                visitor.event(one["id"], [None] * len(one["inputs"]), {"index": index, "value": index})
            else:
                visitor.http.post(
                    f"{API}/run/predict",
                    json={"data": [None] * len(one["inputs"]), "fn_index": one["id"], "event_data": {"index": index}},
                )


def test_the_server_never_stumbled(site):
    """Last: no attack above ended in a traceback of ours."""
    log = site.log.read_text(errors="replace")
    stumbles = []
    for trace in log.split("Traceback (most recent call last)")[1:]:
        frames = [line for line in trace.splitlines() if line.startswith('  File "')]
        if frames and f"{os.sep}iclight{os.sep}" in frames[-1]:
            stumbles.append(trace[-1500:])
    assert not stumbles, stumbles[0]
