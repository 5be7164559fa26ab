"""Which motion a prompt asks for, by common sense, and what is said of its other verbs."""

import pytest

from animateanywhere.commands.prompt_verbs import VERBS, Verb, motion_named, verbs_of
from animateanywhere.puppets.caption import MOTION_WORDS

# What stands in a prompt, and the motion by common sense; None: none of those that are known
SENTENCES = [
    # Plain, and in other tenses
    ("the person walks on a beach", "walk"),
    ("a man is dancing on a stage", "dance"),
    ("she waved", "wave"),
    ("he ran", "run"),
    ("they spun", "turn"),
    ("the girl was sitting on a bench", "sit"),
    ("the man walked through the snow", "walk"),
    ("the person will jump", "jump"),
    ("the person has danced all night", "dance"),
    ("a woman can be seen walking in a park", "walk"),
    ("the person starts to run", "run"),
    ("the person begins jogging at night", "run"),
    ("the person keeps on kicking", "kick"),
    ("the man is about to jump", "jump"),
    ("the man is going to dance", "dance"),
    ("she's running", "run"),
    ("the person is slowly turning around", "turn"),
    ("she had been dancing and is now standing", "dance"),
    ("a man with his arms raised", "raise"),
    # Behind more about the person, and of others than a known word for a person
    ("a woman in a hat waving goodbye", "wave"),
    ("a man in a gym lifting weights", "raise"),
    ("a man on grass kicking balls", "kick"),
    ("a man in black dancing tango", "dance"),
    ("a man in a field jumping high", "jump"),
    ("woman with umbrella walking dog", "walk"),
    ("a couple dance on the beach", "dance"),
    ("the dancers jump", "jump"),
    ("two friends dance", "dance"),
    ("soldiers run through mud", "run"),
    ("a family walk on the beach", "walk"),
    ("the bride and groom dance", "dance"),
    ("a man and his dog walk", "walk"),
    ("a woman in red running shoes on a beach", None),
    ("a man in a dance studio", None),
    ("a woman by the jump rope", None),
    ("a man in a room with a standing lamp", None),
    # Without a subject, without a sentence, and commands
    ("jogging", "run"),
    ("sitting", "sit"),
    ("dancing happily in the rain", "dance"),
    ("kick a ball", "kick"),
    ("Jump!", "jump"),
    ("walk along the beach", "walk"),
    ("kids dance on a stage", "dance"),
    ("they both squat", "squat"),
    ("a man poses", "idle"),
    ("running in a dance hall", "run"),
    # Participles and nouns that describe
    ("a man in red running shoes walks", "walk"),
    ("in red running shoes walks", "walk"),
    ("a woman wears walking boots and jumps", "jump"),
    ("a woman wearing dancing shoes runs", "run"),
    ("a woman in a running suit waves", "wave"),
    ("in a dance dress she jumps", "jump"),
    ("a man in a jump suit kicks", "kick"),
    ("a man with waved hair kicks", "kick"),
    ("a man with a walking stick sits", "sit"),
    ("the running man waves", "wave"),
    ("a dancing woman on a beach", "dance"),
    ("the smiling person dances", "dance"),
    ("on a raised stage a man dances", "dance"),
    ("a man dressed in black dances", "dance"),
    ("a man in sunglasses waves", "wave"),
    ("a woman in red waves", "wave"),
    ("a woman with a wave tattoo sits", "sit"),
    ("a man stands in front of a running track", "idle"),
    ("a man by a sitting dog jumps", "jump"),
    ("a man with turned-up jeans walks", "walk"),
    # Nouns
    ("the person surfs on ocean waves", None),
    ("the person is surfing on ocean waves", None),
    ("a woman in a red coat surfs on ocean waves", None),
    ("a man surfing on sea waves", None),
    ("the person smiles by the waves", None),
    ("a man in front of big waves", None),
    ("a person beside crashing waves", None),
    ("a woman on a dance floor", None),
    ("the person looks at the dance of the leaves", None),
    ("a man at a taxi stand", None),
    ("at a building site", None),
    ("a standard in a park", None),
    ("a walker in a park", None),
    ("the person by the sea waves", "wave"),
    ("big waves behind a man who jumps", "jump"),
    # The noun is the motion
    ("the person takes a walk", "walk"),
    ("the man goes for a run", "run"),
    ("she is going for a jog", "run"),
    ("the person has a dance", "dance"),
    ("he took a long walk in the desert", "walk"),
    ("a woman takes her dog for a walk", "walk"),
    ("doing squats", "squat"),
    ("a man is doing squats holding a ball", "squat"),
    ("the person does a high kick", "kick"),
    ("she gives a wave", "wave"),
    ("the girl makes a jump", "jump"),
    ("the man strikes a pose", "idle"),
    ("the person has a dance dress and jumps", "jump"),
    ("the person does jumping jacks", "jump"),
    ("the woman has long waves in her hair and sits", "sit"),
    # Not so
    ("the person does not walk, but sits", "sit"),
    ("the person doesn't walk but sits", "sit"),
    ("the man is not running but walking", "walk"),
    ("she never dances", None),
    ("nobody walks", None),
    ("the person would rather sit than run", "sit"),
    ("the person sits instead of walking", "sit"),
    ("without running, he walks", "walk"),
    ("the person stops running and sits down", "sit"),
    ("a man without a hat walks", "walk"),
    ("a man with no shoes dances", "dance"),
    ("the man does not walk or run", None),
    ("the man is neither walking nor running, he sits", "sit"),
    ("he is sitting rather than walking", "sit"),
    # Several in sequence
    ("the person walks and then sits", "walk"),
    ("the person sings and dances", "dance"),
    ("the person thinks, turns around and waves", "turn"),
    ("the woman smiles while walking", "walk"),
    ("after running, the man sits", "sit"),
    ("a man in a red shirt and blue jeans runs, jumps, kicks", "run"),
    # The person late, or none
    ("in a city at night, on a street with many lights, a woman dances", "dance"),
    ("on a beach with palm trees waves a man", "wave"),
    ("there is a man who walks in the snow", "walk"),
    ("a park, trees, a bench, a man sitting", "sit"),
    ("the astronaut jumps on the moon", "jump"),
    ("Anna spins", "turn"),
    # Upper case, hyphens, weights
    ("THE MAN WALKS", "walk"),
    ("A Hand-Waving Man Walks", "walk"),
    ("the person walks hand-in-hand", "walk"),
    ("a man in a walk-in closet", None),
    ("the person tap-dances", "dance"),
    ("the person (dances:1.3) on [a stage]", "dance"),
    # Other languages, nonsense, nothing
    ("eine Frau tanzt am Strand", None),
    ("der Mann läuft", None),
    ("wolf blass trn krk", None),
    ("the person is doing yoga", None),
    ("a woman lifts her arms", "raise"),
    ("the man raises both arms", "raise"),
    ("", None),
    ("123 !?", None),
]


@pytest.mark.parametrize("prompt, name", SENTENCES)
def test_the_motion_of_a_prompt_is_the_first_that_the_person_makes(
    prompt: str, name: str | None
) -> None:
    assert motion_named(prompt) == name


def test_all_that_the_base_was_taught_to_call_a_motion_is_known() -> None:
    assert set(VERBS) == set(MOTION_WORDS)
    for name, phrases in MOTION_WORDS.items():
        for phrase in phrases:
            for subject in ("the man", "a woman with long hair in a red coat and jeans", ""):
                assert motion_named(f"{subject} {phrase} on a beach") == name


def test_verbs_without_a_motion_are_named() -> None:
    assert verbs_of("the person sings, dances and sits") == [
        Verb("sings", None), Verb("dances", "dance"), Verb("sits", "sit")
    ]  # fmt: skip
    assert verbs_of("she is surfing on ocean waves") == [Verb("surfing", None)]
    assert not verbs_of("the person wears a hat, smiles and has glasses")
    for prompt in ("a tall astronaut surfs on the moon", "in space, a dog surfs"):
        assert verbs_of(prompt) == [Verb("surfs", None)]
    for prompt in ("a school bus in a city", "the city lights", "a beach with palms", "an actress",
                   "a sunny beach, palm trees", "a dog wears a hat", "a news"):  # fmt: skip
        assert not verbs_of(prompt)
    assert verbs_of("a robot surfs, and a man dances") == [Verb("dances", "dance")]


@pytest.mark.parametrize(
    "prompt, verbs",
    [
        ("a woman wearing jeans", []),
        ("a cyclist wearing blue shorts", []),
        ("a chef cooking eggs", []),
        ("a dog chasing birds", []),
        ("a tall robot painted flowers", []),
        ("a tall ship carries sailors", []),
        ("a cyclist has shorts", []),
        ("a chef cooks eggs", ["cooks"]),
        ("a red sports car", []),
        ("a small chef's hat", []),
        ("a smiling astronaut surfs", ["surfs"]),
        ("a big red robot surfs", ["surfs"]),
    ],
)
def test_the_object_of_a_verb_is_none(prompt: str, verbs: list[str]) -> None:
    assert [verb.word for verb in verbs_of(prompt)] == verbs
