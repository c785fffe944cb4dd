"""The key that programs show."""

from __future__ import annotations

import pytest

from iclight.errors import SettingsError
from iclight.studio.service.keys import VARIABLE, Key

LONG = "a-key-that-nobody-guesses"


def test_only_the_whole_key_fits():
    key = Key(LONG)
    assert key.fits({"authorization": f"Bearer {LONG}"}) and key.fits({"authorization": f"bearer  {LONG} "})
    for shown in (LONG, f"Basic {LONG}", f"Bearer {LONG[:-1]}", f"Bearer {LONG}x", "Bearer", "", "Bearer \ud800"):
        assert not key.fits({"authorization": shown})
    assert not key.fits({})


def test_a_key_that_could_be_guessed_is_refused_in_words():
    for weak in ("", "secret", "x" * 15, "with spaces in between", "naïve-and-much-too-odd"):
        with pytest.raises(SettingsError, match="at least 16"):
            Key.of(weak)


def test_the_key_comes_from_the_environment_where_no_option_names_one(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Key.of(None) is None
    monkeypatch.setenv(VARIABLE, LONG)
    by_environment = Key.of(None)
    assert by_environment is not None and by_environment.fits({"authorization": f"Bearer {LONG}"})
    by_option = Key.of("another-key-of-some-length")
    assert by_option is not None and not by_option.fits({"authorization": f"Bearer {LONG}"})
