"""What may pass on its own is retried by Flyte; what will not fails at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from flytekit.exceptions.user import FlyteRecoverableException


@contextmanager
def retried_by_flyte() -> Iterator[None]:
    """Turns an unreachable server into an error that Flyte tries again.

    Raises:
        FlyteRecoverableException: A server could not be reached; the message is the first one's.
    """
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise FlyteRecoverableException(str(error)) from error
