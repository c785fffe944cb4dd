"""`/v1/images/edits` as OpenAI's own client and curl ask it."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest
from attacks import PATIENCE, httpx
from PIL import Image

from iclight import Settings
from iclight.recipes import read_recipe
from iclight.server.forms import Edit

KEY = "a-key-that-nobody-guesses"
SMALL = {"width": 64, "height": 64, "steps": 2, "matting": "none"}
openai = pytest.importorskip("openai")


def photo(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 255, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def client(server) -> Any:
    with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
        yield openai.OpenAI(base_url=f"{server.url}v1", api_key=KEY, max_retries=0, http_client=http)


@pytest.fixture(scope="module")
def http(server) -> Any:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=PATIENCE, trust_env=False) as http:
        yield http


def pictures(answer: Any) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(one.b64_json))) for one in answer.data]


def metric(http: Any, name: str) -> float:
    lines = http.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def until(is_so: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)


def test_openais_client_gets_the_pixels_that_the_library_makes(client, fc, tmp_path):
    answer = client.images.edit(
        image=("cup.png", png(photo())),
        prompt="warm light",
        n=2,
        model="iclight",
        extra_body={**SMALL, "light": "left", "cfg": 2.5, "seed": 7},
    )
    settings = Settings.for_workflow(
        "fc", prompt="warm light", num_images=2, light="left", cfg=2.5, seed=7, width=64, height=64, steps=2
    )
    expected = fc.relight(photo(), settings)
    assert [np.array(one).tolist() for one in pictures(answer)] == [one.tolist() for one in expected.images]
    path = tmp_path / "second.png"
    path.write_bytes(base64.b64decode(answer.data[1].b64_json))
    recipe = read_recipe(path)
    assert (recipe.settings, recipe.index, recipe.inputs["image"]["file"]) == (expected.settings, 1, "cup.png")


@pytest.mark.parametrize(("kind", "size"), [("png", "100x140"), ("jpeg", "auto"), ("webp", "128x64")])
def test_pictures_come_in_the_format_and_of_the_size_asked_for(client, kind, size):
    answer = client.images.edit(image=png(photo()), prompt="", size=size, output_format=kind, extra_body=SMALL)
    (picture,) = pictures(answer)
    assert picture.format.lower() == kind
    assert f"{picture.width}x{picture.height}" == answer.size == ("128x128" if size == "auto" else size)


def test_a_size_decides_the_shape_that_is_drawn_unless_the_photos_own_pixels_are_lit():
    for values, drawn in (
        ({}, (768, 384)),
        ({"width": 64}, (64, None)),
        ({"finish": "native"}, (None, None)),
    ):
        settings = Edit(values, size=(2000, 1000)).settings((512, 576), {"steps": 9})
        assert (settings.width, settings.height, settings.steps) == (*drawn, 9)


def test_what_openais_mask_leaves_opaque_stays_and_what_it_leaves_out_is_lit(client):
    mask = Image.new("RGBA", (96, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 48, 64))
    (lit,) = pictures(
        client.images.edit(image=png(photo()), mask=png(mask), prompt="dusk", extra_body={**SMALL, "finish": "native"})
    )
    before, after = np.array(photo(), int), np.array(lit.convert("RGB"), int)
    assert (after[:, 48:] == before[:, 48:]).all()
    assert np.abs(after[:, :48] - before[:, :48]).mean() > 5


def test_a_mask_of_another_size_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="The mask is 64x64, the picture 96x64"):
        client.images.edit(image=png(photo()), mask=png(photo(64, 64)), prompt="", extra_body=SMALL)


def test_a_background_chooses_the_workflow_as_a_file_and_as_text(client, http, tmp_path):
    ground = png(photo(64, 64))
    as_text = {**SMALL, "background": "data:image/png;base64," + base64.b64encode(ground).decode()}
    answer = client.images.edit(image=png(photo()), prompt="", extra_body=as_text)
    files = {"image": ("a.png", png(photo())), "background": ("../../b.png", ground)}
    other = http.post("/v1/images/edits", files=files, data=SMALL).json()
    made = [base64.b64decode(one) for one in (answer.data[0].b64_json, other["data"][0]["b64_json"])]
    pixels = [np.array(Image.open(io.BytesIO(one))) for one in made]
    assert (pixels[0] == pixels[1]).all()
    (tmp_path / "made.png").write_bytes(made[1])
    recipe = read_recipe(tmp_path / "made.png")
    assert recipe.settings.workflow == "fbc" and recipe.inputs["background"]["file"] == "b.png"


def test_a_transparent_background_is_openais_word_too(client):
    half = photo(mode="RGBA")
    half.putalpha(Image.linear_gradient("L").resize((96, 64)))
    answer = client.images.edit(image=png(half), prompt="", background="transparent", extra_body=SMALL)
    assert pictures(answer)[0].mode == "RGBA"
    with pytest.raises(openai.BadRequestError, match="png or webp"):
        client.images.edit(image=png(half), prompt="", background="transparent", output_format="jpeg")


@pytest.mark.parametrize(
    ("extra", "param", "words"),
    [
        ({"steps": 1000}, "steps", "from 1 to 100"),
        ({"light": "above"}, None, "takes one of none, left"),
        ({"stepz": 3}, "stepz", "There is no field"),
        ({"size": "12x12"}, "size", "WIDTHxHEIGHT"),
        ({"matting": "scissors"}, "matting", "one of auto"),
        ({"response_format": "url"}, "response_format", "b64_json"),
        ({"background": "sunny"}, "background", "is no file"),
        ({"workflow": "fc", "background": base64.b64encode(png(photo())).decode()}, "background", "not be looked at"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_before_a_model_runs(client, http, extra, param, words):
    lit = metric(http, "iclight_stage_seconds_count")
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=png(photo()), prompt="", extra_body=extra)
    assert words in refused.value.body["message"] and refused.value.body["param"] == param
    assert refused.value.body["type"] == "invalid_request_error"
    assert metric(http, "iclight_stage_seconds_count") == lit


def test_files_that_are_none_or_too_many_are_refused_in_words(client, http):
    for field in ("image", "mask"):
        files = {"image": png(photo()), field: b"no picture"}
        with pytest.raises(openai.BadRequestError, match="not an image") as refused:
            client.images.edit(**files, prompt="")
        assert refused.value.body["param"] == field
    with pytest.raises(openai.BadRequestError, match="Send one picture"):
        client.images.edit(image=[png(photo()), png(photo())], prompt="")
    assert client.images.edit(image=[png(photo())], prompt="", extra_body=SMALL).data
    for answer, status in (
        (http.post("/v1/images/edits", json={"image": "x"}), 415),
        (http.post("/v1/images/edits", files={"photo": png(photo())}), 400),
        (http.post("/v1/images/edits", content=b"--x", headers={"content-type": "multipart/form-data"}), 400),
        (http.get("/v1/images/edits"), 405),
        (http.post("/v1/images/generations"), 404),
    ):
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["message"] and answer.json()["error"]["type"]


def test_a_body_beyond_the_limit_is_refused_by_its_head(server):
    connection = HTTPConnection(server.url.split("/")[2], timeout=PATIENCE)
    connection.putrequest("POST", "/v1/images/edits")
    for header in (("authorization", f"Bearer {KEY}"), ("content-length", str(101 << 20))):
        connection.putheader(*header)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413 and "100 MB" in json.loads(answer.read())["error"]["message"]


def test_models_are_listed_as_openais_clients_read_them(client):
    names = [model.id for model in client.models.list()]
    assert names == ["iclight", "iclight-fc", "iclight-fbc", "iclight-env"]
    assert client.models.retrieve("iclight-fbc").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-image-1")
    with pytest.raises(openai.NotFoundError, match="There is no model 'gpt-image-1'"):
        client.images.edit(image=png(photo()), prompt="", model="gpt-image-1")


def test_only_who_shows_the_key_is_served_and_health_tells_nobody_more(client, http, server):
    for key in ("wrong", KEY[:-1], KEY + "x", "é"):
        shown = {"authorization": b"Bearer " + key.encode()}
        answer = http.get("/v1/models", headers=shown)
        assert answer.status_code == 401 and answer.json()["error"]["type"] == "authentication_error"
    with pytest.raises(openai.AuthenticationError, match="Bearer KEY"):
        client.with_options(api_key="another").images.edit(image=png(photo()), prompt="")
    nobody = httpx.get(f"{server.url}metrics", trust_env=False)
    assert nobody.status_code == 401 and "Bearer" in nobody.headers["www-authenticate"]
    assert httpx.get(f"{server.url}health", trust_env=False).json() == {"status": "ok"}


def test_a_foreign_site_or_name_is_refused_in_openais_form(http):
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        answer = http.get("/v1/models", headers=headers)
        assert answer.status_code == 403 and answer.json()["error"]["message"]


def test_curl_sends_a_form_and_reads_the_picture(server, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    (tmp_path / "photo.png").write_bytes(png(photo()))
    form = [f"-F{name}={value}" for name, value in {**SMALL, "prompt": "dawn", "image": "@photo.png"}.items()]
    asked = ["curl", "-sS", "--noproxy", "*", "-H", f"Authorization: Bearer {KEY}", *form]
    said = subprocess.run([*asked, f"{server.url}v1/images/edits"], cwd=tmp_path, capture_output=True, check=True)
    answer = json.loads(said.stdout)
    assert answer["created"] > 0 and base64.b64decode(answer["data"][0]["b64_json"]).startswith(b"\x89PNG")


def test_a_client_that_hangs_up_stops_its_run_and_leaves_the_line(http, server):
    def ask(timeout: float) -> None:
        slow = {**SMALL, "width": 256, "height": 256, "steps": 100}
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/images/edits", files={"image": png(photo())}, data=slow, timeout=timeout)

    before = metric(http, 'iclight_requests_total{route="/v1/images/edits",status="499"}')
    ask(1)
    ask(0.3)
    until(lambda: metric(http, 'iclight_requests_total{route="/v1/images/edits",status="499"}') == before + 2)
    assert metric(http, "iclight_running") == metric(http, "iclight_waiting") == 0


def test_metrics_count_stages_and_memory(client, http):
    pictures_before = metric(http, "iclight_pictures_total")
    client.images.edit(image=png(photo()), prompt="", n=3, extra_body=SMALL)
    assert metric(http, "iclight_pictures_total") == pictures_before + 3
    for stage in ("wait", "open", "matte", "lowres", "highres", "finish", "encode"):
        assert metric(http, f'iclight_stage_seconds_sum{{stage="{stage}"}}') > 0
    assert metric(http, "process_resident_memory_bytes") > 1e8
