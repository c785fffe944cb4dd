"""The README's lines for nginx, given to a real nginx: below a path, by the name of the site, the page works whole."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time

import pytest

pytest.importorskip("gradio")
import httpx
from attacks import Visitor
from browsing import CHROMIUM, FLAGS, PATIENCE, PICTURE, QUICK, relight, turn, upload
from pages import MODEL, ROOT, free_port, running

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
pytestmark = [pytest.mark.skipif(NGINX is None, reason="no nginx here"), pytest.mark.browser]
SITE = """
{user} daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    """The address at nginx of a page that answers for example.org and this machine, below /light/."""
    folder, port = tmp_path_factory.mktemp("proxied"), free_port()
    location = re.search(r"```nginx\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert location, "the README tells how to set nginx up"
    with running("app.py", folder, *MODEL, "--root-path", "/light", "--allow-host", "example.org") as page:
        user = "" if os.getuid() else "user root;"  # whose folder it is
        inner = location[1].replace("http://127.0.0.1:7860/", page.url)
        assert inner != location[1]
        (folder / "nginx.conf").write_text(SITE.format(user=user, folder=folder, port=port, location=inner))
        nginx = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.log")])
        url = f"http://127.0.0.1:{port}/light"
        try:
            for _ in range(100):
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(f"{url}/", trust_env=False)
                    break
                time.sleep(0.1)
            yield url
        finally:
            nginx.terminate()
            nginx.wait(20)


@pytest.mark.parametrize("host", ["example.org", None])
def test_programs_upload_relight_and_fetch_through_nginx(proxied, host):
    visitor = Visitor(proxied, **({"host": host} if host else {}))
    with open(PICTURE, "rb") as file:
        kind, said = visitor.ask(image=visitor.file(file.read()))
    assert kind == "complete", said
    picture = said[0][0]["image"]
    shown = visitor.http.get(f"/gradio_api/file={picture['path']}")
    assert shown.status_code == 200 and shown.content.startswith(b"\x89PNG")
    assert "/light/gradio_api/file=" in picture["url"], "an address that works from outside"


def test_other_names_are_refused_through_nginx_too(proxied):
    assert Visitor(proxied, host="evil.example").http.get("/config").status_code == 403


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_browser_relights_through_nginx(proxied):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = chromium.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.goto(f"{proxied}/")
        tab.wait_for_selector("#relight")
        tab.click("#advanced button >> nth=0")
        turn(tab, {**QUICK, "steps": 1})
        upload(tab, "image", PICTURE)
        assert "seed" in relight(tab)
        tab.wait_for_function("document.querySelector('#results img').naturalWidth > 0")
        chromium.close()
