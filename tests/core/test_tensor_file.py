from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animateanywhere.core.errors import UsageError
from animateanywhere.core.tensor_file import (
    read_about,
    read_tensors,
    require_finite,
    write_tensors,
)

TENSORS = {
    "b": torch.arange(6).view(2, 3),
    "a": torch.randn(3, 4, dtype=torch.bfloat16),
    "none": torch.zeros(0, 2),
    "scalar": torch.tensor(2.5),
    "flags": torch.tensor([True, False]),
    "turned": torch.randn(4, 3).T,
}
ABOUT = {"step": "3", "words": 'é "quoted"\n', "name": "x"}


def test_contents_come_back_and_give_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for number in range(6):  # the library's order of metadata is random
        path = tmp_path / f"{number}.safetensors"
        write_tensors(path, dict(reversed(TENSORS.items())) if number % 2 else TENSORS, ABOUT)
        files.append(path.read_bytes())
    assert len(set(files)) == 1
    found, about = read_tensors(path)
    assert about == ABOUT == read_about(path) and found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    with safe_open(path, "pt") as file:
        assert file.keys()  # for other tools it is a usual file


def test_every_flipped_byte_is_refused(tmp_path: Path) -> None:
    """In one line that names the file. Only spaces at the end of the header do not matter."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, ABOUT)
    whole = path.read_bytes()
    for place in range(0, len(whole), 2):
        if whole[place] != ord(" "):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            if b"sha256" not in path.read_bytes():
                continue  # the name of the checksum itself: taken for a file of another tool
            with pytest.raises(UsageError) as caught:
                read_tensors(path)
            assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(UsageError, match="not readable as safetensors"):
            read_tensors(path)


def test_files_without_a_checksum_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(2)}, path)
    assert read_tensors(path)[1] == {}
    assert torch.equal(load_file(path)["x"], torch.ones(2))
    with pytest.raises(UsageError, match="no such file"):
        read_tensors(tmp_path / "b.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    require_finite(tmp_path, TENSORS)
    with pytest.raises(UsageError, match="layer is not finite"):
        require_finite(tmp_path, {"layer": torch.tensor([1.0, value])})
