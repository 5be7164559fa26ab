"""The motions that a prompt asks for, by its verbs: a few rules of English word order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise, takewhile
from typing import NamedTuple

from animateanywhere.backbones.prompt_weights import plain
from animateanywhere.core.naming import PERSON_WORDS

VERBS = {
    "walk": ("walk", "stroll"), "wave": ("wave",), "dance": ("dance",), "jump": ("jump",),
    "squat": ("squat",), "turn": ("turn", "spin"), "sit": ("sit",), "run": ("run", "jog"),
    "raise": ("raise", "lift", "stretch"), "kick": ("kick",), "idle": ("stand", "pose"),
}  # fmt: skip
PAST = {"spin": "spun", "sit": "sat", "run": "ran", "stand": "stood"}
DOUBLED = ("squat", "spin", "sit", "run", "jog")

BARE, THIRD, PARTICIPLE, PAST_TENSE = "walk", "walks", "walking", "walked"  # forms of a verb
SUBJECTS = PERSON_WORDS | set(
    "i you he she we they persons guys boys girls children kids ladies".split()
)
ARTICLES = frozenset("a an the this his her its their my your some another".split())
NEW_CLAUSE = frozenset("and but then or nor while who that when as because , . ; : ! ?".split())
# Behind these a verb has no ending
AUXILIARIES = frozenset("to can could will would shall should must may might do does did".split())
HAVE = frozenset("has have had".split())
BE = frozenset("is are am was were be been".split())
ADVERBS = frozenset("not rather now still also often always soon again just there both all".split())
PREPOSITIONS = frozenset(
    """in on at by with without near under over into onto from of for behind beside before after
    through across along around up down off out toward towards like than inside outside above below
    between among against past during""".split()
)
# Behind these is no verb, but what a verb's name describes or names: "in a running suit", "big
# waves"
NOUN_AFTER = ARTICLES | PREPOSITIONS | set("no many few several big high tall huge".split())
GROUPS = frozenset("couple family crowd group team band".split())  # "the couple dance"
# What a participle describes and nobody does: "red running shoes"
THINGS = frozenset(
    """shoes boots suit suits stick sticks pants trousers tights shorts gear clothes track machine
    room rooms water lamp desk rope costume dress skirt coat jacket hat""".split()
)
WATER = r"(?<!\bthe )\b(?:ocean|sea) waves\b"  # but somebody waves in "by the sea waves"
FUNCTION_WORDS = (
    ARTICLES | PREPOSITIONS | NEW_CLAUSE | AUXILIARIES | BE | ADVERBS
    | set("back away fast home".split())
)  # fmt: skip
NOT = frozenset("not never cannot neither nobody".split())  # to the end of a clause
ENDING = frozenset("stop stops stopped stopping avoids".split())  # "stops running"
# What makes a motion of its noun: "takes a walk", and without an article, "does squats"
TAKE = frozenset(
    """take takes took taking taken go goes went going have has had having give gives gave giving
    make makes made making strike strikes striking""".split()
)
DO = frozenset("do does did doing perform performs performing".split())
LIGHT_WORDS = ARTICLES | {"for", "on"}
FARTHEST = 5  # words from one to the other
# No motion is missed for these
NO_MOTION = TAKE | DO | BE | ENDING | set(
    """wears wearing holds holding carries carrying looks looking smiles smiling keeps starts
    starting begins beginning continues wants stays named""".split()
)  # fmt: skip
THIRD_ENDING = r"[^aius'’]s$"
VERB_ENDING = rf"{THIRD_ENDING}|[^\W\d_]{{2}}ing$|[^\W\d_]{{3}}ed$"  # or of a participle


class Verb(NamedTuple):
    """A verb of a prompt as it stands there, and the name of its motion; None: there is none."""

    word: str
    motion: str | None


def motion_named(prompt: str) -> str | None:
    """The motion of the first verb of a prompt that has one; None if there is none."""
    return next((verb.motion for verb in verbs_of(prompt) if verb.motion), None)


def verbs_of(prompt: str) -> list[Verb]:
    """What somebody does in a prompt, in order. A participle before a noun for a person ("a dancing
    woman") counts where there is nothing else."""
    text = re.sub(WATER, "water", plain(prompt).lower())
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[,.;:!?]", text)
    found = list(_said(words))
    if any(verb.motion for verb in found):
        return found
    before_person = [
        Verb(word, _known(word)[0])
        for word, after in pairwise(words)
        if _known(word)[1] == PARTICIPLE and after in PERSON_WORDS
    ]
    return found + (before_person or list(_likely(words))) or list(_behind_a_noun(words))


def _likely(words: Sequence[str]) -> Iterator[Verb]:
    """What may be verbs behind a noun that is no known word for a person, or behind more about the
    person: "two friends dance", "a man in a gym lifting weights"."""
    if any(word in NOT or word.endswith(("n't", "n’t")) for word in words):
        return
    for index, word in enumerate(words):
        motion, form = _known(word)
        before, after = _neighbors(words, index)
        free = before and before not in NOUN_AFTER | ENDING and not before.endswith("ing")
        several = before.endswith("s") or before in GROUPS or "and" in words[:index]
        if free and (
            (form == PARTICIPLE and after not in THINGS)
            or (not after and (form == THIRD or (form == BARE and several)))
        ):
            yield Verb(word, motion)


def _behind_a_noun(words: Sequence[str]) -> Iterator[Verb]:
    """What may be a verb without a known motion behind any noun: "a tall astronaut surfs". Behind
    "a" that is no plural; behind "the" it may be: "the city lights". A participle ends the
    noun, and what is behind it is its object: "a dog chasing birds"."""
    begins = [n for n, word in enumerate(words) if word in ("a", "an")
              and (not n or words[n - 1] in NEW_CLAUSE)]  # fmt: skip
    for begin in begins:
        phrase = takewhile(lambda word: word not in FUNCTION_WORDS, words[begin + 1 :])
        behind = [*islice(phrase, FARTHEST)][1:]
        ends = [word for word in behind if word in NO_MOTION or re.search(VERB_ENDING, word)]
        if not ends or ends[0] in NO_MOTION or not re.search(THIRD_ENDING, ends[0]):
            continue
        # What is behind the verb is its object: "cooks eggs". In "a red sports car" nobody sports
        objects = behind[behind.index(ends[0]) + 1 :]
        if not objects or re.search(THIRD_ENDING, objects[0]):
            yield Verb(ends[0], None)


def _said(words: Sequence[str]) -> Iterator[Verb]:
    """The verbs among words. A clause has one that agrees with its subject; what looks like another
    one is a noun: "surfs on ocean waves"."""
    complete = denied = False  # whether the clause has that verb, and a "not"
    for index, word in enumerate(words):
        if word in NEW_CLAUSE:
            complete, denied = False, denied and word in ("or", "nor")
            continue
        denied |= word in NOT or word.endswith(("n't", "n’t"))
        motion, form = _known(word)
        before, after = _neighbors(words, index)
        free = not complete or (form == PAST_TENSE and before in HAVE)
        agrees = form in (THIRD, PAST_TENSE) and free and _agrees(before, form, after)
        unknown = form is None and _is_unknown(word, before)
        complete |= word in BE or agrees or (unknown and word.endswith("s"))
        if not denied and (
            agrees
            or (unknown and word not in NO_MOTION)
            or (form == PARTICIPLE and _is_participle(before, after))
            or (form == BARE and _is_bare(before, after))
            or (form in (BARE, THIRD) and not after and _is_noun_of_motion(words[:index]))
        ):
            yield Verb(word, motion)


def _neighbors(words: Sequence[str], index: int) -> tuple[str, str]:
    """The word before one, but for adverbs, and the one after it if that may be a noun; else ""."""
    before = [one for one in words[:index] if not _is_adverb(one)]
    after = words[index + 1] if index + 1 < len(words) else ""
    noun = not (after in FUNCTION_WORDS or _is_adverb(after) or after.endswith("ing"))
    return before[-1] if before else "", after if noun else ""


def _is_adverb(word: str) -> bool:
    return word in ADVERBS or (word.endswith("ly") and word not in GROUPS)


def _agrees(before: str, form: str, after: str) -> bool:
    """Whether "walks" or "walked" is a verb, unlike in "big waves" and "waved hair"."""
    if form == PAST_TENSE and after and before not in SUBJECTS:
        return False
    return before not in NOUN_AFTER and not before.endswith("ing")


def _is_participle(before: str, after: str) -> bool:
    """Whether "walking" is what somebody does, and does not describe something: "running shoes"."""
    if before in SUBJECTS | BE | DO:
        return after not in PERSON_WORDS
    return not after and before not in NOUN_AFTER - {"on"} and before not in ENDING


def _is_bare(before: str, after: str) -> bool:
    """Whether "walk" is a verb: of several people, behind "to" or "will", or a command."""
    if before in SUBJECTS | AUXILIARIES:
        return True
    return not after and (not before or before in NEW_CLAUSE)


def _is_noun_of_motion(before: Sequence[str]) -> bool:
    """Whether words make a motion of the noun behind them: "takes a long", "does some"."""
    for distance, word in enumerate(reversed(before[-FARTHEST:])):
        between = before[len(before) - distance :]
        if word in TAKE | DO:
            others = [one for one in between if one not in LIGHT_WORDS]
            named = word in DO or any(one in ARTICLES for one in between)
            return named and len(others) <= 1 and not FUNCTION_WORDS & set(others)
    return False


def _is_unknown(word: str, before: str) -> bool:
    """Whether a word behind a subject is a verb without a known motion: "surfs", "is surfing"."""
    third = word.endswith("s") and not word.endswith("ss") and before in SUBJECTS
    return third or (word.endswith("ing") and before in SUBJECTS | BE)


def _forms(verb: str) -> dict[str, str]:
    """ "walk", "walks", "walking" and "walked" of "walk", and which form each is."""
    stem = verb.removesuffix("e")
    longer = verb + verb[-1] if verb in DOUBLED else stem
    third = verb + ("es" if verb.endswith("ch") else "s")
    past = PAST.get(verb, longer + "ed")
    return {verb: BARE, third: THIRD, longer + "ing": PARTICIPLE, past: PAST_TENSE}


KNOWN = {
    word: (name, form)
    for name, verbs in VERBS.items()
    for verb in verbs
    for word, form in _forms(verb).items()
}


def _known(word: str) -> tuple[str | None, str | None]:
    """The motion that a word names, and its form; of "tap-dances" that of the last part."""
    return KNOWN.get(word.rsplit("-")[-1], (None, None))
