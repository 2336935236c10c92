"""Imports torch without waking what flytekit has put to sleep."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_torch() -> None:
    """Imports what decorating an `Elastic` task imports anyway, for 0.4 s of processor time less.

    flytekit leaves stand-ins for pandas, pyarrow and joblib in `sys.modules`, which load at the
    first look at an attribute. torch registers its operators by `inspect.getmodule`, which looks at
    every module. Once pandas is there, flytekit loads its readers of data frames, and botocore.
    """
    with _stand_ins_hidden():
        importlib.import_module("torch.distributed.run")


@contextmanager
def _stand_ins_hidden() -> Iterator[None]:
    """Takes the stand-ins out of `sys.modules` for a while; the type alone does not wake them."""
    hidden = {name: m for name, m in sys.modules.items() if type(m).__name__ == "_LazyModule"}
    for name in hidden:
        del sys.modules[name]
    try:
        yield
    finally:
        for name, module in hidden.items():
            sys.modules.setdefault(name, module)
