import pytest

from animateanywhere.core.errors import UsageError
from animateanywhere.core.naming import check_class_word, check_token


@pytest.mark.parametrize("token", ["sks", "Zwx", "ohwx", "tok1", "q7"])
def test_rare_words_are_fine(token: str) -> None:
    check_token(token)


@pytest.mark.parametrize("token", ["", "a", "sks man", "sks-1", "../x", "12", "żółw", "x" * 21])
def test_a_token_is_one_plain_word(token: str) -> None:
    with pytest.raises(UsageError, match="one plain word"):
        check_token(token)


@pytest.mark.parametrize("token", ["man", "Man", "beach", "with", "red", "base"])
def test_a_token_means_nothing_yet(token: str) -> None:
    with pytest.raises(UsageError, match="common word"):
        check_token(token)


def test_class_word() -> None:
    check_class_word(None)
    check_class_word("woman")
    for word in ("", "old man", "m4n"):
        with pytest.raises(UsageError, match="class word"):
            check_class_word(word)
