"""The one-page book that the tests of the extensions build."""

from __future__ import annotations

import pytest
from helpers.bookproject import Project


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "local"))
    return Project(tmp_path)
