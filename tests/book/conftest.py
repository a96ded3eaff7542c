"""The one-page book that the tests of the extensions build, and the whole one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.bookcopy import built_copy
from helpers.bookproject import Project


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "local"))
    return Project(tmp_path)


@pytest.fixture(scope="session")
def html(tmp_path_factory) -> Path:
    """The pages of a copy of the book; all workers of a session share one."""
    base = tmp_path_factory.getbasetemp()
    return built_copy(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
