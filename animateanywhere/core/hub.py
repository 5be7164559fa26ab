"""The Hugging Face hub: what a repository has, its files in the hub's cache, its errors in a line.

Libraries ask a hub that does not answer for every file, several times each; here the first failed
request is the last.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import nearest_existing, sha256
from animateanywhere.core.messages import progress
from animateanywhere.core.reporter import Bar

PATIENCE = 10  # seconds to wait for an answer
MB = 10**6


class Repository(NamedTuple):
    """A model repository on the hub, or what the hub's cache has of it."""

    name: str  # "owner/name"
    branch: str  # or another revision, by its name
    revision: str  # its commit
    files: dict[str, int]  # sizes in bytes, by path
    license: str = ""  # its identifier ("apache-2.0"), "" if it is not stated
    local: bool = False  # whether only the cache was asked


def look_up(name: str, branch: str = "main") -> Repository:
    """Ask the hub for a repository, once.

    Raises UsageError if it does not exist, or is not open to this user, Failure if the hub does not
    answer or HF_HUB_OFFLINE is set.
    """
    from huggingface_hub import HfApi

    try:
        about = HfApi().model_info(name, revision=branch, files_metadata=True, timeout=PATIENCE)
    except Exception as error:  # of the hub's client, its transport or the system
        raise _error(name, error) from None
    files = {file.rfilename: file.size or 0 for file in about.siblings or []}
    card: Any = about.card_data
    license = card.get("license") if card else None
    return Repository(name, branch, str(about.sha), files, str(license or ""))


def is_offline() -> bool:
    """Whether the user has switched downloads off, by HF_HUB_OFFLINE=1."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def look_up_cached(name: str, branch: str = "main") -> Repository | None:
    """What the hub's cache has of a repository; None if it has nothing. Needs no network."""
    folder = _of(name)
    try:
        commit = (folder / "refs" / branch).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    snapshot = folder / "snapshots" / commit
    files = {str(path.relative_to(snapshot)): path.stat().st_size
             for path in snapshot.rglob("*") if path.is_file()}  # fmt: skip
    return Repository(name, branch, commit, files, local=True) if files else None


def missing_in_cache(repository: Repository, paths: Sequence[str]) -> list[str]:
    """Those of a repository's files that have to be downloaded."""
    from huggingface_hub import try_to_load_from_cache

    name, revision = repository.name, repository.revision
    found = {path: try_to_load_from_cache(name, path, revision=revision) for path in paths}
    return [path for path in paths if not isinstance(found[path], str)]


def download(repository: Repository, paths: Sequence[str]) -> Path:
    """Get files of a repository, from the hub's cache or the hub; returns the folder they are in.

    The network may fail: complete files are kept in the cache for the next time. Raises Failure if
    it does, and for a file whose content is not what the hub says, UsageError as `look_up` does.
    """
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import get_hf_file_metadata

    name, branch = repository.name, repository.branch
    wanted = missing_in_cache(repository, paths)
    total = sum(repository.files[path] for path in wanted) // MB
    if not wanted:
        return cached_folder(repository)
    with _without_warnings(), progress(f"downloading {name}, MB", total=max(total, 1)) as bar:
        for path in wanted:
            try:
                # Asks once, where the download itself would ask for half a minute
                get_hf_file_metadata(hf_hub_url(name, path, revision=branch), timeout=PATIENCE)
                hf_hub_download(name, path, revision=branch, tqdm_class=_megabytes_to(bar))
            except Exception as error:  # as above
                raise _error(name, error, path) from None
    folder = cached_folder(repository)
    for path in wanted:
        if not (folder / path).is_file():
            raise Failure(f"{name} has changed meanwhile: run the same command again")
        _require_intact(name, path, folder / path)
    return folder


def cached_folder(repository: Repository) -> Path:
    """The folder of a repository's commit in the hub's cache, whether or not it is there."""
    return _of(repository.name) / "snapshots" / repository.revision


def in_cache(path: Path) -> bool:
    """Whether a path is in the hub's cache, whose files are never changed."""
    return cache_folder().absolute() in path.absolute().parents


def cache_folder() -> Path:
    """The hub's cache, by default ~/.cache/huggingface/hub (HF_HOME, HF_HUB_CACHE)."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def same_disk(first: Path, second: Path) -> bool:
    """Whether files can be in two folders, which need not exist, at once."""
    return nearest_existing(first).stat().st_dev == nearest_existing(second).stat().st_dev


def require_space(folder: Path, needed: int, remedy: str) -> None:
    """Raise Failure if the disk of a folder, which need not exist, has less than `needed` bytes."""
    free = shutil.disk_usage(nearest_existing(folder)).free
    if free < needed:
        raise Failure(
            f"{needed / 1e9:.2f} GB are needed in {folder}, and {free / 1e9:.2f} GB are free: "
            f"free some space, or {remedy}"
        )


def explain(error: Exception) -> str:
    """An error of the hub's client in one line, with what to do."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError, OfflineModeIsEnabled

    code = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, OfflineModeIsEnabled):
        return "downloads are off (HF_HUB_OFFLINE), and it is not in the hub's cache"
    if isinstance(error, HFValidationError):
        return "there is no such folder, and no repository can have this name"
    if isinstance(error, GatedRepoError):
        return (
            "access to it is restricted: accept its terms on its page, then log in with "
            "`hf auth login` or set HF_TOKEN"
        )
    if code == 401:
        return "it does not exist, or is private: check the name, or log in with `hf auth login`"
    if code == 403:
        return "your token has no access to it: use another token (HF_TOKEN)"
    if code == 404:
        return "there is no such repository, revision or file: check the name"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{(lines or [type(error).__name__])[0]}; is there a network? run the same command again"


def _of(name: str) -> Path:
    return cache_folder() / f"models--{name.replace('/', '--')}"


def _error(name: str, error: Exception, path: str = "") -> Exception:
    where = f"{name}/{path}" if path else name
    from huggingface_hub.errors import HFValidationError

    code = getattr(getattr(error, "response", None), "status_code", None)
    wrong = code in (401, 403, 404) or isinstance(error, HFValidationError)
    kind = UsageError if wrong else Failure
    return kind(f"{where} cannot be downloaded: {explain(error)}")


def _require_intact(name: str, path: str, file: Path) -> None:
    """Check a file against the SHA-256 that is its name in the cache; remove it if they differ.
    Small files are named by another hash and are not checked."""
    blob = file.resolve()
    if len(blob.name) == 64 and sha256(blob) != blob.name:
        file.unlink()
        blob.unlink(missing_ok=True)
        raise Failure(
            f"{name}/{path} is not the file that the hub describes (its SHA-256 differs) and was "
            "removed: run the same command again, or check HF_ENDPOINT"
        )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence the notes of the hub's client about attempts; errors are still raised."""
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _megabytes_to(bar: Bar) -> type:
    """A class in the place of the hub's progress bar, which counts bytes, to advance ours."""
    from tqdm import tqdm

    class Silent(tqdm):  # type: ignore[misc]
        def display(self, *_: object, **__: object) -> None:
            pass

        def update(self, n: float | None = 1) -> bool | None:
            before = int(self.n // MB)
            drawn = super().update(n)
            bar.advance(int(self.n // MB) - before)
            return drawn

        # Bytes on the network, beside those in the file
        def update_transfer(self, n: float) -> None:
            pass

        def set_transfer_postfix_str(self, *_: object, **__: object) -> None:
            pass

    return Silent
