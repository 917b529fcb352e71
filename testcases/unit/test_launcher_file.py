"""The launcher's file: what may read it, and what it needs."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LAUNCHER = ROOT / "tools/mdjournal"


def load_launcher() -> ModuleType:
    loader = SourceFileLoader("launcher", str(LAUNCHER))
    specification = importlib.util.spec_from_loader("launcher", loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    return module


def test_an_old_python_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = load_launcher()
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    assert launcher.main() == 2
    said = capsys.readouterr().err
    assert said == f"mdjournal: needs python3 3.11 or newer; {sys.executable} is 3.9.2\n"


def test_an_old_python_can_read_the_launcher() -> None:
    ast.parse(LAUNCHER.read_text(), feature_version=(3, 6))


def test_the_launcher_needs_the_standard_library_alone() -> None:
    modules = [f"tools.launch.{path.stem}" for path in (ROOT / "tools/launch").glob("[a-z]*.py")]
    assert len(modules) >= 5
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {', '.join(modules)}"
    # -I -S: nothing that was installed can be seen.
    subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program], check=True)
