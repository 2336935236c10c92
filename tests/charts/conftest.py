"""The chart, rendered once for each combination of values that the tests look at."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from rendering import CHART, COMBINATIONS, ROOT, Object, Render, script

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Libyaml where it is there: some hundred documents are read."""


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The real helm."""
    path = script(ROOT / "charts" / "tools.py").helm()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [path, *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    return run


@pytest.fixture(scope="session")
def template(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Renders the chart with values files and `--set` expressions into parsed objects."""

    @cache
    def rendered(files: tuple[str, ...], sets: tuple[str, ...], release: str) -> str:
        arguments = ["template", release, str(CHART), "--namespace", "oppen-system"]
        for file in files:
            arguments += ["--values", str(CHART / file)]
        for expression in sets:
            arguments += ["--set", expression]
        done = helm(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def render(
        files: Sequence[str] = (), sets: Sequence[str] = (), release: str = "oppen"
    ) -> list[Object]:
        text = rendered(tuple(files), tuple(sets), release)
        return [one for one in yaml.load_all(text, Loader=Loader) if one]

    return render


@pytest.fixture(scope="session", params=list(COMBINATIONS))
def objects(request: pytest.FixtureRequest, template: Render) -> list[Object]:
    """Everything the chart renders, for each combination in turn."""
    files, sets = COMBINATIONS[request.param]
    return template(files, sets)
