"""The two words that name a person: the learned token and the class word."""

from animateanywhere.core.errors import UsageError

# The base knows these words: a person bound to one of them would change what it means.
COMMON_WORDS = frozenset(
    """a an the his her their and with without in on at by of to from under over near next
    man men woman women person people guy lady boy girl child kid adult human someone figure
    dancer walker runner player singer actor model father mother friend puppet character
    hair face head body arm hand leg shirt tshirt top jacket hoodie sweater dress skirt pants
    trousers jeans shorts shoes boots sneakers hat cap bag backpack glasses beard logo
    red orange yellow green blue purple pink brown black white gray grey dark light bright
    beach sea forest woods tree street city town snow winter room home house stage desert night
    day ball umbrella surfboard guitar dog car bike walk walking run running dance dancing jump
    jumping sit sitting stand standing wave waving turn turning squat squatting
    video photo picture image clip scene background style""".split()
)
OTHER_FOLDERS = frozenset(
    {"base", "bases", "bench", "demo", "evaluate", "puppets", "regularization", "subject"}
)  # of runs/, where a token has its own


def check_token(token: str) -> None:
    """Refuse a token that is not one plain word, or that already means something.

    Raises:
        UsageError: with what to give instead.
    """
    word = token.lower()
    plain = word.isascii() and word.isalnum() and not word.isdigit()
    if not (plain and 2 <= len(word) <= 20):
        raise UsageError(f"token {token!r}: give one plain word of 2 to 20 letters, such as sks")
    if word in COMMON_WORDS | OTHER_FOLDERS:
        raise UsageError(f"token {token!r} is a common word: give a rare one, such as sks")


def check_class_word(word: str | None) -> None:
    """Refuse a class word that is not one plain word; None is fine.

    Raises:
        UsageError: with what to give instead.
    """
    if word is not None and not (word.isascii() and word.isalpha()):
        raise UsageError(f"class word {word!r}: give one plain word, such as man")
