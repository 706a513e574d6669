"""Names and texts that users write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobservice.domain.names import TEXT_MAX, clean_text, is_name


@pytest.mark.parametrize("name", ["a", "A-1_b", "0", "x" * 64])
def test_a_word_of_letters_digits_dash_and_underscore_is_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", "_a", "a.b", "a/b", "a b", "é", "a\n", "x" * 65, "a\x00"])
def test_whatever_a_routing_key_could_not_hold_as_one_word_is_no_name(name: str) -> None:
    assert not is_name(name)


@given(st.text(alphabet=st.characters(), max_size=300), st.integers(40, 200))
def test_a_cleaned_text_can_be_stored_and_is_never_longer_than_allowed(text: str, limit: int) -> None:
    cleaned = clean_text(text, limit)

    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    assert len(cleaned) <= limit


def test_nul_and_lone_surrogates_stay_readable() -> None:
    assert clean_text("a\x00b\ud800c") == "a\\x00b\\ud800c"


def test_a_long_text_keeps_its_head_and_its_tail() -> None:
    cleaned = clean_text("head" + "x" * 2 * TEXT_MAX + "tail")

    assert len(cleaned) <= TEXT_MAX
    assert cleaned.startswith("head")
    assert cleaned.endswith("tail")
