"""`aa push`: upload of personal weights or a base, with a model card, to the Hugging Face hub."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rich.markup import escape

from animateanywhere.backbones.base import base_config, find_base, hash_of
from animateanywhere.backbones.personal_weights import FILE, base_of, read_metadata
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.hub import explain
from animateanywhere.core.messages import say, warn
from animateanywhere.methods.animate_anywhere.model_card import (
    NAME,
    write_base_card,
    write_personal_card,
)


def push(path: Path, repo: str, *, public: bool = False, dry_run: bool = False) -> str:
    """Upload personal weights (a file or the folder of its run) or a base; returns the address.

    A missing repository is created, private unless `public`. The account is that of HF_TOKEN or
    `hf auth login`; HF_ENDPOINT selects another hub. An existing model card is not overwritten.
    dry_run: print what would be sent, and send nothing. Raises UsageError for an invalid `repo` and
    for a folder with neither weights nor base, Failure if the upload fails.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import filter_repo_objects, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UsageError(f"repository {repo!r}: give NAME or USER/NAME, such as me/sks") from None
    folder, patterns = files_of(path)
    personal = patterns[0] != NAME
    if not personal and not (folder / "base.toml").is_file():
        raise UsageError(
            f"{path}: neither personal weights nor a base: give a folder from `aa personalize` or "
            "`aa base-train`"
        )
    if not (folder / NAME).is_file():
        _write_card(folder / patterns[0] if personal else folder, personal)
    names = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
    sent = list(filter_repo_objects(names, allow_patterns=patterns))
    size = sum((folder / name).stat().st_size for name in sent)
    kind = "public" if public else "private"
    say(f"{len(sent)} files, {size / 1e6:.1f} MB to {escape(repo)} ({kind}): {', '.join(sent)}")
    if personal and public:
        warn("anyone can then make videos of this person: has that person agreed?")
    api = HfApi()
    address = f"{api.endpoint}/{repo}"
    if dry_run:
        say("dry run: nothing was sent")
        return address
    try:
        created = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=created.repo_id, folder_path=folder, allow_patterns=patterns,
            commit_message=f"{folder.name} by AnimateAnywhere",
        )  # fmt: skip
    except Exception as error:  # of the hub's HTTP client, which depends on its version
        raise Failure(f"{repo} was not pushed: {_reason(error)}") from error
    say(f"pushed to {created}")
    return str(created)


def files_of(path: Path) -> tuple[Path, list[str]]:
    """The folder to publish, and glob patterns of its files: for a run or weights the file, its
    card and scores; for a base its parts, logs and scores, without checkpoints and corpus."""
    if path.is_file() or (path / FILE).is_file():
        file = path if path.is_file() else path / FILE
        return file.parent, [file.name, NAME, "scores.json", "scores.png"]
    # Each part has a configuration, whichever method the base is for
    parts = sorted({file.parent.name for file in path.glob("*/*config.json")})
    return path, [NAME, "base.toml", "model_index.json", "recipe.*", "training/*/*.json*",
                  *(f"{part}/*" for part in parts)]  # fmt: skip


def _write_card(path: Path, personal: bool) -> None:
    if not personal:
        write_base_card(path, base_config(path), hash_of(path))
        return
    license = ""
    with suppress(UsageError):  # the base is not on this machine
        license = str(
            base_config(find_base(base_of(read_metadata(path), path))).get("license") or ""
        )
    write_personal_card(path, license)


def _reason(error: Exception) -> str:
    """An error of the hub in one line."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code == 401:
        return "not logged in to the hub: set HF_TOKEN, or run `hf auth login`"
    if code == 403:
        return "your token has no write access to it: use a token with write access"
    return explain(error)
