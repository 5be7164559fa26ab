"""Checks of the two words for a person: the learned token and the class word."""

import re
from itertools import pairwise

from animateanywhere.core.errors import UsageError

# Nouns for a person
PERSON_WORDS = frozenset(
    """man men woman women person people guy lady gentleman boy girl child kid teenager adult human
    someone figure dancer walker runner hiker surfer skater skier athlete player singer actor
    actress model father mother friend puppet character""".split()
)
# Words with a meaning to the base, which learning a person under them would change
COMMON_WORDS = PERSON_WORDS | frozenset(
    """a an the his her their and with without in on at by of to from under over near next
    hair face head body arm hand leg shirt tshirt top jacket hoodie sweater dress skirt pants
    trousers jeans shorts shoes boots sneakers hat cap bag backpack glasses beard logo
    red orange yellow green blue purple pink brown black white gray grey dark light bright
    beach sea forest woods tree street city town snow winter room home house stage desert night
    day ball umbrella surfboard guitar dog car bike walk walking run running dance dancing jump
    jumping sit sitting stand standing wave waving turn turning squat squatting
    video photo picture image clip scene background style""".split()
)
# Tokens of the tutorials of personalization, which mean nothing else in a prompt
USUAL_TOKENS = frozenset("sks ohwx zwx zwxm ukj shs".split())
# Without a vowel too, and people write them before a noun for a person
ABBREVIATIONS = frozenset(
    """bbc blk blvd bmw bmx brb btw bts cctv cgt cnn cpr crt dslr dvd ftw gps gtr hdr hmm hrh jpg
    jrpg kgb kfc lgbt lgbtq ltd mcm mlb mls mph mrs msc mtb mtv nbc nfl nft nhl npc nrl nth nwt nyc
    pdf phd png pov ppl prt psst pst ptsd pvc rgb rpg sfx shh std svg tbh thx tnt vfx vhs vtt wwf
    xxl xxs xxx""".split()
)
# Folders in runs/, where each token has a folder too
OTHER_FOLDERS = frozenset(
    """base bases bench cast check corpus demo evaluate people predictions puppets regularization
    studio subject unfinished""".split()
)


def check_token(token: str) -> None:
    """Check that a token is one plain word without a meaning: 2 to 20 ASCII letters and digits.

    Raises:
        UsageError: if it is not, with a suggestion.
    """
    word = token.lower()
    plain = word.isascii() and word.isalnum() and not word.isdigit()
    if not (plain and 2 <= len(word) <= 20):
        raise UsageError(f"token {token!r}: give one plain word of 2 to 20 letters, such as sks")
    if word in COMMON_WORDS | OTHER_FOLDERS:
        raise UsageError(f"token {token!r} is a common word: give a rare one, such as sks")


def check_class_word(word: str | None) -> None:
    """Check that a class word is one plain word of ASCII letters, or None.

    Raises:
        UsageError: if it is not, with a suggestion.
    """
    if word is not None and not (word.isascii() and word.isalpha()):
        raise UsageError(f"class word {word!r}: give one plain word, such as man")


def unlearned_token(prompt: str) -> str | None:
    """A word of a prompt that can only be meant as a token, for a prompt without a learned one.

    That is one of USUAL_TOKENS, or a word in small letters without a vowel before a noun for a
    person, such as "qzx man". Names, abbreviations ("DJ", "a phd woman"), ordinals and words of
    other alphabets are not taken for tokens.
    """
    for word, following in pairwise([*re.findall(r"\w+", prompt), ""]):
        before_person = following.lower() in PERSON_WORDS
        if word.lower() in USUAL_TOKENS and (before_person or not word.isupper()):
            return word
        vowelless = re.fullmatch(r"[b-df-hj-np-tv-xz]{3,}\d*", word)
        if before_person and vowelless and word not in ABBREVIATIONS:
            return word
    return None
