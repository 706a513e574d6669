"""Ctrl-C before a command has begun is an end like any other."""

import runpy
import sys
from importlib.machinery import ModuleSpec

import pytest


class Interrupts:
    """A finder during whose search Ctrl-C comes."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> ModuleSpec | None:
        del path, target
        if name == "jobservice.cli.main":
            raise KeyboardInterrupt
        return None


def test_ctrl_c_while_the_command_is_imported_ends_with_130_and_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jobservice.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupts, *sys.meta_path])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module("jobservice", run_name="__main__")

    assert ended.value.code == 130
    assert ended.value.__suppress_context__
