from pathlib import Path

import pytest

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.subject import read_captions


@pytest.mark.parametrize("caption", ['"\\ud800"', "[" * 3000, "1}\n{"])
def test_a_caption_that_is_no_text_is_refused(caption: str, tmp_path: Path) -> None:
    """Half of a surrogate pair can stand in JSON, but not in a text that is written again."""
    path = tmp_path / "captions.jsonl"
    path.write_text('{"frame": 0, "caption": %s}\n' % caption)  # noqa: UP031
    with pytest.raises(UsageError, match="a line contains no caption"):
        read_captions(path)
    path.write_text('{"frame": 0, "caption": "\\u00e9"}\n')
    assert read_captions(path) == ["é"]
