"""Who may import whom, read from the syntax trees of all modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_numba.jit import NOT_IN_KERNELS

PACKAGE = Path(__file__).parents[1] / "lstm_numba"
STANDARD_LIBRARY = sys.stdlib_module_names

# For each part of the package (longest matching prefix counts): what it may import beside the standard library
# and itself. `reference` may not see `cells` or numba: it is the specification they are tested against.
ALLOWED = {
    "elementary": {"numba", "llvmlite"},
    "variants": set(),
    "cells": {"numba", "lstm_numba.elementary"},
    "contract": {"numpy"},
    "inner": {"numba"},
    "jit": {"numba", "llvmlite"},
    "backend": {"lstm_numba.contract"},
    "reference": {"numpy", "lstm_numba.contract", "lstm_numba.variants"},
    "cpu": {
        "numpy",
        "numba",
        "llvmlite",
        "lstm_numba.cells",
        "lstm_numba.contract",
        "lstm_numba.elementary",
        "lstm_numba.inner",
        "lstm_numba.jit",
        "lstm_numba.variants",
    },
    "historic": {
        "numpy",
        "numba",
        "llvmlite",
        "lstm_numba.cells",
        "lstm_numba.elementary",
        "lstm_numba.jit",
    },
    "layers": {"numpy", "lstm_numba.backend", "lstm_numba.contract", "lstm_numba.variants"},
    "warmup": {"numpy", "lstm_numba.layers"},
    "explain": {"lstm_numba.backend", "lstm_numba.layers"},
    "gpu": {
        "numpy",
        "numba",
        "llvmlite",
        "greenlet",
        "numba_cuda",
        "cuda",
        "lstm_numba.cells",
        "lstm_numba.contract",
        "lstm_numba.elementary",
    },
    "gradcheck": {"numpy", "lstm_numba.layers"},
    "training": {"numpy", "tqdm"},
    "datasets": {"numpy", "pandas"},
    "forecasting": {"numpy", "pandas", "sktime", "sklearn", "lstm_numba.layers", "lstm_numba.training"},
    "plots": {"*"},
    "tasks": {"numpy"},
    "teaching": {"*"},
    "torch": {"numpy", "torch", "lstm_numba.backend", "lstm_numba.contract", "lstm_numba.layers"},
    "onnx": {"numpy", "onnx", "lstm_numba.layers", "lstm_numba.variants"},
    "keras": {"numpy", "keras", "lstm_numba.layers"},
    "": {
        "lstm_numba.cpu.threads",
        "lstm_numba.explain",
        "lstm_numba.gradcheck",
        "lstm_numba.layers",
        "lstm_numba.training",
        "lstm_numba.warmup",
    },
}
NOBODY_IMPORTS = {"lstm_numba.plots", "lstm_numba.teaching", "lstm_numba.torch", "lstm_numba.onnx", "lstm_numba.keras"}
LAZY_ONLY = {"greenlet", "tqdm", "pandas", "sktime", "sklearn", "matplotlib", "IPython", "torch", "onnx", "keras"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path: Path) -> set[str]:
    """Full names of what a file imports, anywhere in it; `from lstm_numba import x` counts as `lstm_numba.x`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = node.module
            if node.level:  # `from .x import y`: spell out which x
                parts = path.relative_to(PACKAGE).parts
                folder = parts[: len(parts) - node.level]
                origin = ".".join(["lstm_numba", *folder, *([node.module] if node.module else [])])
            if origin == "lstm_numba":
                found |= {f"lstm_numba.{alias.name}" for alias in node.names}
            else:
                found.add(origin)
    return found


def part_of(module: str) -> str:
    return module.split(".")[0] if module.split(".")[0] in ALLOWED else ""


def violations(path: Path) -> list[str]:
    module = module_name(path)
    part = part_of(module)
    own = f"lstm_numba.{part}" if part else "lstm_numba"
    allowed = ALLOWED[part]
    bad = []
    for name in imports_of(path):
        if name.split(".")[0] in STANDARD_LIBRARY or "*" in allowed:
            continue
        if part and (name == own or name.startswith(own + ".")):
            continue
        if any(name == ok or name.startswith(ok + ".") for ok in allowed):
            continue
        bad.append(name)
    return bad


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=[module_name(path) or "__init__" for path in MODULES])
def test_imports_follow_the_rules(path):
    assert violations(path) == []


@pytest.mark.parametrize("path", MODULES, ids=[module_name(path) or "__init__" for path in MODULES])
def test_nobody_imports_adapters_plots_or_teaching(path):
    part = part_of(module_name(path))
    if f"lstm_numba.{part}" in NOBODY_IMPORTS:
        return
    assert not {name for name in imports_of(path) for ban in NOBODY_IMPORTS if name.startswith(ban)}


def test_what_the_cache_key_leaves_out_is_out_of_the_kernels_reach():
    """Modules with kernels, and all they may import, must be in the key of the disk cache."""
    left_out = {name.removesuffix(".py") for name in NOT_IN_KERNELS}
    compiled = {"cells", "elementary", "cpu", "contract", "historic", "inner", "jit", "variants"}
    for path in MODULES:
        reached = {name.removeprefix("lstm_numba.").split(".")[0] for name in imports_of(path)}
        if part_of(module_name(path)) in compiled:
            assert not reached & left_out, path
        elif part_of(module_name(path)) in left_out - {"teaching", "plots", "gpu"}:
            assert not reached & {"numba", "jit"}, path


@pytest.mark.parametrize(
    ("part", "source", "bad"),
    [
        ("reference/lstm.py", "from lstm_numba.cells import sigmoid", ["lstm_numba.cells"]),
        ("reference/lstm.py", "import numba", ["numba"]),
        ("cells.py", "import numpy as np", ["numpy"]),
        ("layers/dense.py", "from lstm_numba.cpu import lstm", ["lstm_numba.cpu"]),
        ("training/loop.py", "from lstm_numba import layers", ["lstm_numba.layers"]),
        ("cpu/lstm.py", "def f():\n    import torch", ["torch"]),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, monkeypatch, part, source, bad):
    """The rule itself, broken on purpose."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    path = tmp_path / part
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert violations(path) == bad


def test_no_module_is_taken_for_one_of_numba_cuda():
    """numba-cuda's import hook looks for "numba.cuda" anywhere in a name, and calls itself for ever if it is ours."""
    assert not [path for path in MODULES if "numba.cuda" in f"lstm_numba.{module_name(path)}"]


def test_import_needs_numpy_and_numba_only():
    """`import lstm_numba` in a fresh process loads none of the optional packages."""
    code = "import sys, lstm_numba; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not LAZY_ONLY & set(ast.literal_eval(loaded))


def _without_wrapper(tree):
    """Functions that only compiled code may call: a call from Python is a TypeError (:mod:`lstm_numba.inner`)."""
    named = {target.id for node in tree.body if isinstance(node, ast.Assign) and "INNER" in ast.unparse(node.value)
             for target in node.targets if isinstance(target, ast.Name)} | {"INNER"}  # fmt: skip
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any(f"**{name}" in ast.unparse(decorator) for decorator in node.decorator_list for name in named)
    }


def _called_from_python(tree, names):
    """Calls of these in functions that Numba does not compile; kernels are undecorated, and take a plan first."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            if node.args.args and node.args.args[0].arg == "plan":
                continue
            calls = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
            found |= {f"{node.name} calls {f.id}" for f in calls if isinstance(f, ast.Name) and f.id in names}
    return found


def test_no_python_code_calls_a_function_without_a_wrapper():
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.glob("cpu/*.py"))}
    defined = {path: _without_wrapper(tree) for path, tree in trees.items()}
    assert sum(map(len, defined.values())) > 100
    for path, tree in trees.items():
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lstm_numba.cpu.")
            for alias in node.names
            if alias.name in defined[PACKAGE / f"cpu/{node.module.rpartition('.')[2]}.py"]
        }
        assert _called_from_python(tree, defined[path] | imported) == set(), path


def test_a_call_of_a_function_without_a_wrapper_is_found():
    tree = ast.parse("_UNIT = INNER | {}\n@njit(**_UNIT)\ndef size(U): return U\ndef run(x): return size(x)")
    assert _called_from_python(tree, _without_wrapper(tree)) == {"run calls size"}
