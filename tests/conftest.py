"""Shape types are enforced, Hypothesis is deterministic, and tests that need a GPU say so."""

import sys

import jaxtyping

import tests.shape_types  # noqa: F401 - the hook finds it by name

assert "verifier" not in sys.modules, "the import hook must come before the first import"
jaxtyping.install_import_hook("verifier", "tests.shape_types.enforce")

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

_SLOW_MACHINES = (HealthCheck.too_slow,)
settings.register_profile(
    "commit",
    max_examples=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=_SLOW_MACHINES,
)
settings.register_profile(
    "night", max_examples=2000, deadline=None, suppress_health_check=_SLOW_MACHINES
)
settings.load_profile("commit")


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none; ``-ra`` lists it in the summary."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked and not _has_cuda():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
