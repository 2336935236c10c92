"""The Hugging Face hub's many failures, said in one line each."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class HubError(ValueError):
    """A model, tokenizer or data set that the hub or a folder does not give."""


def is_away(name: str | Path) -> bool:
    """Says whether `name` must come from the local cache, because the hub does not answer.

    One request with a short timeout: the hub's own client would retry for most of a minute before
    every file. A folder never asks.
    """
    from huggingface_hub import constants

    if Path(name).is_dir() or constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310 - the hub's own address
    try:
        urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 - as above
    except urllib.error.HTTPError:
        return False
    except OSError:
        return True
    return False


def hub_revision(name: str, *, token: str | None = None) -> str:
    """Returns the commit that a model's main branch has now, by one request and without a file.

    Where the hub is away, it is the commit that the local cache has.

    Raises:
        HubError: The hub has no such model, or it is away and the cache has none.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    with hub_errors(name, "model"):
        if constants.HF_HUB_OFFLINE or is_away(name):
            return Path(snapshot_download(name, local_files_only=True)).name
        commit = HfApi(token=token).model_info(name).sha
    if commit is None:
        raise HubError(f"the hub names no commit of model {name!r}; give a local folder of it")
    return commit


def load_data_set(path: str, configuration: str | None) -> Any:
    """Loads a data set, from the local cache alone where the hub is away."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or is_away(path)
    try:
        return datasets.load_dataset(path, configuration)
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def hub_errors(name: str, what: str) -> Iterator[None]:
    """Turns what transformers and the hub raise while loading `name` into a `HubError`.

    Args:
        name: Hub name or folder, for the message.
        what: "model", "tokenizer" or "data set", for the message.
    """
    from huggingface_hub import errors

    try:
        yield
    except (OSError, ValueError, errors.HfHubHTTPError) as error:
        raise HubError(explain(error, name, what)) from error


def explain(error: BaseException, name: str, what: str) -> str:
    """Returns one line: what could not be loaded, why, and the mend."""
    from huggingface_hub import errors

    causes = list(_causes(error))
    reason = " ".join(str(causes[-1]).split())[:200]
    text = " ".join(str(cause) for cause in causes).lower()
    start = f"{what} {name!r} cannot be loaded"
    if any(isinstance(cause, errors.GatedRepoError) for cause in causes) or "is a gated" in text:
        return (
            f"{start}: it is gated; accept its terms on its hub page and set HF_TOKEN to a "
            "token that may read it"
        )
    if any(
        isinstance(c, errors.RepositoryNotFoundError | errors.HFValidationError) for c in causes
    ):
        return (
            f"{start}: the hub has no such repository, or it is private ({reason}); "
            "check the name, set HF_TOKEN, or give a folder"
        )
    if Path(name).is_dir():
        return f"{start}: the folder is not complete ({reason}); save the {what} there again"
    if _is_network(causes):
        return (
            f"{start}: the hub is out of reach ({reason}); check the network and HF_HUB_OFFLINE, "
            "or give a folder"
        )
    return f"{start} ({reason}); check the name, or give a folder"


def _is_network(causes: list[BaseException]) -> bool:
    from huggingface_hub import errors

    kinds = (
        ConnectionError,
        TimeoutError,
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
    )
    return any(isinstance(cause, kinds) for cause in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and what caused it, down to the first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
