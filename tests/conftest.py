"""What all tests share."""

from __future__ import annotations

import pytest

from normzoo import plugins, registry


@pytest.fixture(autouse=True)
def registry_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what a test registers and loads."""
    monkeypatch.setattr(registry, "_cards", dict(registry._cards))
    monkeypatch.setattr(plugins, "_loaded", dict(plugins._loaded))
