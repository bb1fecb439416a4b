"""Fixtures that several unit tests share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.contract.pack import pack
from pilothouse.hosting import fleet, keeper
from tests.unit.endpoint_house import Installation


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setattr(keeper, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(fleet, "GRACE", 0.0)
    installation = Installation(tmp_path / "home")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text(json.dumps({"version": 1}))
    pack(tmp_path / "model", tmp_path / "model.tar.gz")
    installation.objects.upload(tmp_path / "model.tar.gz", "s3://bucket/model.tar.gz")
    yield installation
    installation.reconciler.stop(5)
    installation.launcher.close()
    installation.store.close()


@pytest.fixture
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs in benchmarks/ can be imported, as they import each other."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
