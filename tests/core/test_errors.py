import pytest

from animateanywhere.core.errors import Failure, UsageError


@pytest.mark.parametrize("kind", [UsageError, Failure])
def test_a_message_is_one_line_whatever_it_quotes(kind: type[Exception]) -> None:
    assert str(kind("run.json: base a\nb\x0bc\u2028d")) == "run.json: base a b c d"
    assert str(kind("two  spaces of a name.mp4")) == "two  spaces of a name.mp4"
    assert str(kind()) == ""
