import pytest

from animateanywhere.core.errors import UsageError
from animateanywhere.core.naming import check_class_word, check_token, unlearned_token


@pytest.mark.parametrize("token", ["sks", "Zwx", "ohwx", "tok1", "q7"])
def test_rare_words_are_fine(token: str) -> None:
    check_token(token)


@pytest.mark.parametrize("token", ["", "a", "sks man", "sks-1", "../x", "12", "żółw", "x" * 21])
def test_a_token_is_one_plain_word(token: str) -> None:
    with pytest.raises(UsageError, match="one plain word"):
        check_token(token)


@pytest.mark.parametrize("token", ["man", "Man", "beach", "with", "red", "base", "corpus"])
def test_a_token_means_nothing_yet(token: str) -> None:
    with pytest.raises(UsageError, match="common word"):
        check_token(token)


def test_class_word() -> None:
    check_class_word(None)
    check_class_word("woman")
    for word in ("", "old man", "m4n"):
        with pytest.raises(UsageError, match="class word"):
            check_class_word(word)


@pytest.mark.parametrize(
    "prompt, word",
    [
        ("sks man on a beach", "sks"),
        ("a photo of Ohwx, dancing", "Ohwx"),
        ("SKS woman in a forest", "SKS"),
        ("(sks:1.2) man", "sks"),
        ("a qzx man on a beach", "qzx"),
        ("vbn1 dancer", "vbn1"),
    ],
)
def test_a_word_that_can_only_be_a_token(prompt: str, word: str) -> None:
    assert unlearned_token(prompt) == word


@pytest.mark.parametrize(
    "prompt",
    """a man in a red shirt on a beach
    DJ on a stage, a TV behind
    Mr Smith and Mrs Ng
    dj man, tv man, mr man, a phd woman, an nfl player, a bmx boy
    Brynn woman on a street
    Ng man, Vlk man, NHL player
    a soldier with an SKS
    4k hdr photo of a 21st century man, 3rd person
    a shy boy under the sky, a spy woman
    psst, hmm, a shhh from the crowd
    masks man, skating woman, asks a man
    mia woman, Jan man, alex person in a park
    człowiek w lesie, мужчина, 男人
    """.splitlines(),
)
def test_words_that_a_person_would_use_are_no_tokens(prompt: str) -> None:
    assert unlearned_token(prompt) is None
