"""Prompts: plain ones as the reference reads them, marked ones as A1111 does, names as the vectors they stand for."""

from __future__ import annotations

import copy

import pytest
import torch
from golden_data import GOLDEN, PICTURE, quick
from safetensors.torch import save_file

from iclight import Relighter
from iclight.cli.main import main
from iclight.diffusion.embeddings import open_embeddings, parse_embedding
from iclight.errors import IclightError, SettingsError
from iclight.loading import load_model
from iclight.prompts import chunks_of, encode_prompt_pair, token_chunks
from iclight.recipes import Recipe, read_recipe

MODEL = GOLDEN / "model"


def weighed(fc, text, emphasis="marked"):
    """The text's words with their weights, padding left out."""
    end = fc.tokenizer.eos_token_id
    chunks = chunks_of(fc.tokenizer, text, emphasis=emphasis)
    return [[(fc.tokenizer.decode([t]).strip(), round(w, 4)) for t, w in chunk[1:] if t != end] for chunk in chunks]


def plain_words(fc, text):
    return [word for chunk in weighed(fc, text, "never") for word, _ in chunk]


def encoded(fc, text, **options):
    return encode_prompt_pair(fc.tokenizer, fc.text_encoder, text, "", **options)[0]


@pytest.mark.parametrize(
    "text",
    [
        "photo (studio), soft light [wide]",
        "ratio (16:9) at (10:30), (4:3)",
        "smile :) lens:1.2 (f/1.8)",
        "LUNCHBREAK, breaks",
        "((", "a ) b ] c",
        "",
    ],
)  # fmt: skip
def test_a_prompt_without_plain_marks_is_the_references_to_the_bit(text, fc):
    ids = torch.tensor(token_chunks(fc.tokenizer, text))
    reference = fc.text_encoder(ids).reshape(1, -1, 32)
    assert torch.equal(encoded(fc, text), reference)
    assert torch.equal(encoded(fc, text, emphasis="never"), reference)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a (b:1.3) c", [("a ", 1), ("b", 1.3), (" c", 1)]),
        ("((a)) (b) [c]", [("a", 1.21), (" ", 1), ("b", 1.1), (" ", 1), ("c", 1 / 1.1)]),
        ("(a (b:1.5) c:2)", [("a ", 2), ("b", 3), (" c", 2)]),
        (r"a \(b\) c", [("a (b) c", 1)]),
        ("[[a]] (b", [("a", 1 / 1.21), (" ", 1), ("b", 1.1)]),
        ("(a:0.5)) :c]", [("a", 0.5), (") :c]", 1)]),
    ],
)
def test_brackets_weigh_words_as_in_a1111(text, parts, fc):
    expected = [(word, round(weight, 4)) for words, weight in parts for word in plain_words(fc, words)]
    assert weighed(fc, text) == [expected]


def test_always_reads_single_brackets_too_and_never_reads_none(fc):
    assert {weight for _, weight in weighed(fc, "a (b) c", "always")[0]} == {1.0, 1.1}
    assert {weight for _, weight in weighed(fc, "a (b:1.4) c", "never")[0]} == {1.0}
    assert weighed(fc, "a (b:1.4) c", "never")[0] != weighed(fc, "a (b:1.4) c")[0]


def test_break_begins_another_chunk(fc):
    assert weighed(fc, "a BREAK (b BREAK c:1.5)") == [
        [(word, 1.0) for word in plain_words(fc, "a ")],
        [(word, 1.5) for word in plain_words(fc, "b")],
        [(word, 1.5) for word in plain_words(fc, "c")],
    ]
    assert encoded(fc, "a BREAK b").shape[1] == 2 * 77


def test_weights_scale_a_chunk_and_leave_its_mean(fc):
    ours = encoded(fc, "a (b:1.4) c BREAK d")[0]
    chunks = chunks_of(fc.tokenizer, "a (b:1.4) c BREAK d", emphasis="marked")
    for k, chunk in enumerate(chunks):
        plain = fc.text_encoder(torch.tensor([[token for token, _ in chunk]]))[0]
        scaled = plain * torch.tensor([weight for _, weight in chunk])[:, None]
        expected = scaled * plain.mean() / scaled.mean() if k == 0 else plain
        assert torch.allclose(ours[77 * k : 77 * (k + 1)], expected, atol=1e-5)
    assert not torch.allclose(ours[:77], encoded(fc, "a b c")[0], atol=1e-3)


@pytest.mark.parametrize(
    "text", ["(" * 20_000, "(a:" * 6000, "\\" * 20_000, "((a:9))" * 2800, "(a:0)", "(a:999999)" * 9]
)
def test_hostile_prompts_are_read_in_bounded_work(text, fc):
    chunks = chunks_of(fc.tokenizer, text, emphasis="always")
    assert sum(map(len, chunks)) < 2 * 77 * (len(text) // 75 + 2)
    if len(text) < 100:
        assert bool(encoded(fc, text).isfinite().all())


# --- clip skip --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_transformers_own_tokenizer_and_encoder_serve_as_well(fc, clip_skip):
    from transformers import CLIPTextModel, CLIPTokenizer

    theirs = [
        one.from_pretrained(str(MODEL / part))
        for one, part in ((CLIPTokenizer, "tokenizer"), (CLIPTextModel, "text_encoder"))
    ]
    for pair in (("a ((cat:1.3)) in the sun, " * 30, ""), ("best quality", "lowres")):
        wanted = encode_prompt_pair(fc.tokenizer, fc.text_encoder, *pair, clip_skip=clip_skip)
        torch.testing.assert_close(
            encode_prompt_pair(*theirs, *pair, clip_skip=clip_skip), wanted, rtol=1e-5, atol=1e-5
        )


def test_clip_skip_reads_an_earlier_layer_through_the_last_norm(fc):
    ids = torch.tensor(token_chunks(fc.tokenizer, "cat"))
    encoder = fc.text_encoder
    first = encoder.encoder.layers[0](encoder.embeddings(ids))
    assert torch.equal(encoded(fc, "cat", clip_skip=2), encoder.final_layer_norm(first))
    second = encoder.encoder.layers[1](first)
    assert torch.allclose(encoded(fc, "cat"), encoder.final_layer_norm(second), atol=1e-6)
    with pytest.raises(SettingsError, match="clip_skip is 3, but this model's text encoder has 2 layers"):
        encoded(fc, "cat", clip_skip=3)


def test_what_a_prompt_cannot_have_is_said_before_any_model_runs(fc, monkeypatch):
    monkeypatch.setattr(fc.passes, "render", lambda *_: pytest.fail("a model ran"))
    for changes, words in (
        ({"prompt": "cat <lora:style:0.7>"}, "--lora style.safetensors:0.7"),
        ({"negative_prompt": "<LYCO:x:1>"}, "--lora x.safetensors:1"),
        ({"clip_skip": 9}, "clip_skip is 9"),
    ):
        with pytest.raises(SettingsError, match=words):
            fc.relight(PICTURE, quick(**changes))


def test_settings_reach_the_picture(fc):
    def latents(**changes):
        return fc.relight(PICTURE, quick(prompt="cat, (sunset:1.4)", **changes)).latents["highres"]

    marked = latents()
    assert torch.equal(latents(emphasis="always"), marked)
    assert not torch.equal(latents(emphasis="never"), marked)
    assert not torch.equal(latents(clip_skip=2), marked)


def test_a_recipe_from_before_emphasis_takes_brackets_as_words(fc, tmp_path):
    settings = quick(width=64, height=64)
    recipe = Recipe(settings, {"name": "x", "lora": []}, "none", {"image": {"file": "a.png", "sha256": "0"}})
    assert Recipe.from_json(recipe.to_json()).settings.emphasis == "marked"
    old = recipe.to_json().replace('"emphasis": "marked", ', "").replace('"emphasis":"marked",', "")
    assert "emphasis" not in old
    assert Recipe.from_json(old).settings.emphasis == "never"


# --- textual inversion ------------------------------------------------------------------------------------------------


def vectors(count=2, width=32, seed=3):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("a/Style.safetensors", ("a/Style.safetensors", "Style")),
        ("a/Style.safetensors:mine", ("a/Style.safetensors", "mine")),
        ("owner/name/x-y.safetensors", ("owner/name/x-y.safetensors", "x-y")),
        ("https://huggingface.co/o/n/resolve/main/x.pt?download=true", (None, "x")),
        ("a/two words.safetensors:ok", ("a/two words.safetensors", "ok")),
    ],
)
def test_an_embedding_option_is_a_file_and_maybe_a_name(text, parsed):
    assert parse_embedding(text) == (parsed[0] or text, parsed[1])


def test_an_embedding_without_a_usable_name_asks_for_one():
    with pytest.raises(SettingsError, match="FILE:NAME"):
        parse_embedding("a/two words.safetensors")


@pytest.mark.parametrize("key", ["emb_params", "<style>", "*"])
def test_a_name_in_a_prompt_is_the_vectors_of_its_file(key, tmp_path):
    path = tmp_path / "Neg-Hand.safetensors"
    save_file({key: vectors()}, path)
    fc = Relighter.load(MODEL, matting="none", device="cpu", dtype="float32", embedding=str(path))
    table = fc.text_encoder.token_table.weight
    assert torch.equal(table[-2:], vectors())
    ids = list(range(len(table) - 2, len(table)))
    assert fc.embeddings == {"Neg-Hand": tuple(ids)}
    for text in ("a neg-hand, b", "a embedding:Neg-Hand, b", "a Neg-Hand.safetensors, b"):
        found = [token for token, _ in chunks_of(fc.tokenizer, text, embeddings=fc.embeddings)[0]]
        assert [found[k : k + 2] for k, token in enumerate(found) if token == ids[0]] == [ids], text
    whole = chunks_of(fc.tokenizer, "a neg-hands b", embeddings=fc.embeddings)[0]
    assert max(token for token, _ in whole) < ids[0]
    plain = Relighter.load(MODEL, matting="none", device="cpu", dtype="float32")
    assert torch.equal(encoded(fc, "cat"), encoded(plain, "cat"))
    ours, theirs = (one.relight(PICTURE, quick(prompt="a Neg-Hand")).images[0] for one in (fc, plain))
    assert (ours != theirs).any()


def test_one_vector_and_a1111s_pickled_form_are_taken_too(tmp_path):
    save_file({"<x>": vectors(1)[0]}, tmp_path / "one.safetensors")
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": vectors()}, "name": "x"}, tmp_path / "old.pt")
    found = open_embeddings([(tmp_path / "one.safetensors", "one"), (tmp_path / "old.pt", "old")], 32)
    assert torch.equal(found["one"], vectors(1)) and torch.equal(found["old"], vectors())
    assert main(["models", "--convert", str(tmp_path / "old.pt")]) == 0
    assert torch.equal(open_embeddings([(tmp_path / "old.safetensors", "x")], 32)["x"], vectors())


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"emb_params": vectors(2, 48)}, r"shape \(2, 48\).*1 to 75 vectors of 32"),
        ({"emb_params": vectors(76)}, "1 to 75 vectors"),
        ({"clip_g": vectors(2, 64), "clip_l": vectors(2)}, "of SDXL"),
        ({"a": vectors(), "b": vectors() + 1}, "is no embedding"),
        ({"emb_params": vectors().to(torch.int8)}, "not quantised"),
    ],
)
def test_a_file_that_is_no_embedding_for_this_model_is_refused_by_name(tensors, words, tmp_path):
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(IclightError, match=words) as caught:
        load_model(MODEL, device="cpu", dtype="float32", embedding=str(tmp_path / "odd.safetensors"))
    assert "odd.safetensors" in str(caught.value)


def test_a_recipe_keeps_its_embeddings(tmp_path):
    path, out = tmp_path / "style.safetensors", tmp_path / "out.png"
    save_file({"emb_params": vectors()}, path)
    call = ["relight", PICTURE, "--model", str(MODEL), "--matting", "none", "--steps", "1", "--width", "64"]
    call += ["--height", "64", "--quiet", "--prompt", "style cat", "--device", "cpu", "-o", str(out)]
    assert main([*call, "--embedding", str(path)]) == 0
    assert read_recipe(out).model["asked"]["embedding"] == ["style.safetensors"]
    again = ["relight", "--recipe", str(out), PICTURE, "-o", str(tmp_path / "again.png"), "--quiet"]
    assert main(again) == 0
    assert (tmp_path / "again.png").read_bytes() == out.read_bytes()
    other = copy.deepcopy(vectors()) + 1
    save_file({"emb_params": other}, path)
    assert main(again) == 1
