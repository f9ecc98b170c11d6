"""The code style of the library, as far as a program can check it."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import tokenize
from collections.abc import Callable, Iterator

import pytest

import ndsampler

ROOT = pathlib.Path(ndsampler.__file__).parent

MODULES = sorted(ROOT.rglob("*.py"))

REPOSITORY = pathlib.Path(__file__).parent.parent

#: Python files beside the library, which share its limit on lines.
OTHER_FILES = sorted(
    path
    for folder in ("tests", "benchmarks", "docs", "examples")
    for path in (REPOSITORY / folder).rglob("*.py")
)

MODULE_LINES = 600
FUNCTION_LINES = 50
PARAMETERS = 8

#: Signatures that the documented API fixes at more.
MANY_PARAMETERS = {
    "EpochOrder.__init__",
    "new_image_sample_grid",
    "new_video_sample_grid",
    "random_negatives",
}

#: Packages whose data runs code when it is loaded.
PICKLERS = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}

#: Modules that may be asked for from the terminal, and so may print.
PRINTING = ("cli", "__main__")

#: Methods that wait without a limit when they are called without arguments.
WAITING_METHODS = {"acquire", "communicate", "get", "join", "recv", "result", "wait"}

#: Functions that wait without a limit unless they get a timeout, and the argument that may hold it.
WAITING_FUNCTIONS = {"call": None, "check_call": None, "check_output": None, "run": None, "select": 3}

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef

#: The modules of each room; those of the top floor are one.
ROOMS = {
    room: [path for path in MODULES if path.parent.relative_to(ROOT).as_posix() == room]
    for room in sorted({path.parent.relative_to(ROOT).as_posix() for path in MODULES})
}


def each_module(check: Callable[[pathlib.Path], None]) -> Callable[[str], None]:
    """Make a test of each room, which checks its modules one after another."""

    @pytest.mark.parametrize("room", ROOMS)
    def check_room(room: str) -> None:
        for path in ROOMS[room]:
            check(path)

    check_room.__name__ = check.__name__
    return check_room


@functools.cache
def parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def qualified(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield each function below a node with its name, after those of the classes around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield prefix + node.name, node
        inner = f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else prefix
        yield from qualified(node, inner)


def code_lines(function: Function) -> int:
    """Return the lines of a function without its docstring."""
    size = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        size -= (first.end_lineno or 0) - first.lineno + 1
    return size


def parameters(function: Function) -> list[str]:
    """Return the names of a function's parameters, self and catch-alls aside."""
    args = function.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return [name for name in names if name not in {"self", "cls"}]


def called_name(node: ast.AST) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def frozen_dataclasses(tree: ast.AST) -> Iterator[tuple[ast.ClassDef, dict[str, str]]]:
    """Yield each frozen dataclass with the arguments of its decorator."""
    for node in ast.walk(tree):
        for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if called_name(decorator) == "dataclass":
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in decorator.keywords}
                if options.get("frozen") == "True":
                    yield node, options


def imported_packages(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


@each_module
def test_a_module_stays_below_its_limit(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES


def test_a_file_beside_the_library_stays_below_its_limit():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in OTHER_FILES}
    assert {path.name: count for path, count in lines.items() if count > MODULE_LINES} == {}


@each_module
def test_a_function_stays_below_its_limits(path):
    long = {f.name: code_lines(f) for f in functions(parse(path)) if code_lines(f) > FUNCTION_LINES}
    assert long == {}
    wide = {name: len(parameters(f)) for name, f in qualified(parse(path)) if len(parameters(f)) > PARAMETERS}
    assert {name: count for name, count in wide.items() if name not in MANY_PARAMETERS} == {}


@each_module
def test_a_signature_is_annotated_in_full(path):
    bare = [
        f"{function.name}({arg.arg})"
        for function in functions(parse(path))
        for arg in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if arg.annotation is None and arg.arg not in {"self", "cls"}
    ]
    bare += [f"{function.name} -> ?" for function in functions(parse(path)) if function.returns is None]
    assert bare == []


@each_module
def test_a_frozen_value_computes_nothing_later_and_is_not_compared_if_it_holds_arrays(path):
    wrong = []
    for node, options in frozen_dataclasses(parse(path)):
        types = [ast.unparse(part.annotation) for part in node.body if isinstance(part, ast.AnnAssign)]
        if any("NDArray" in name for name in types) and options.get("eq") != "False":
            wrong.append(f"{node.name} needs eq=False")
        lazy = {"cached_property", "LazyAttribute"}
        if any(lazy.intersection(map(ast.unparse, f.decorator_list)) for f in functions(node)):
            wrong.append(f"{node.name} has a cached_property")
    assert wrong == []


@each_module
def test_a_library_module_does_not_print(path):
    if path.relative_to(ROOT).with_suffix("").parts[0] in PRINTING:
        return
    lines = [node.lineno for node in ast.walk(parse(path)) if called_name(node) in {"print", "breakpoint"}]
    assert lines == []


def waits_without_limit(node: ast.AST) -> bool:
    """Return whether a call or a loop waits for another thread or process, however long that takes."""
    if isinstance(node, ast.While) and "monotonic" not in ast.unparse(node.test):
        return [ast.unparse(step).startswith("time.sleep(") for step in node.body] == [True]
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    name, owner = node.func.attr, node.func.value
    if name in WAITING_METHODS:
        return not node.args and not node.keywords
    if name == "waitpid":
        return isinstance(node.args[1], ast.Constant)
    if isinstance(owner, ast.Name) and owner.id in {"subprocess", "select"} and name in WAITING_FUNCTIONS:
        place = WAITING_FUNCTIONS[name]
        limited = any(keyword.arg == "timeout" for keyword in node.keywords)
        return not limited and (place is None or len(node.args) <= place)
    return False


def test_a_test_waits_for_nothing_without_a_limit():
    found = {
        path.name: [node.lineno for node in ast.walk(parse(path)) if waits_without_limit(node)]
        for path in OTHER_FILES
        if "tests" in path.relative_to(REPOSITORY).parts
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@each_module
def test_nothing_that_a_file_holds_is_unpickled_or_evaluated(path):
    assert PICKLERS.isdisjoint(imported_packages(parse(path)))
    assert not [node for node in ast.walk(parse(path)) if called_name(node) in {"eval", "exec"}]
    allowed = [
        node.lineno
        for node in ast.walk(parse(path))
        if isinstance(node, ast.keyword)
        and node.arg == "allow_pickle"
        and getattr(node.value, "value", True) is not False
    ]
    assert allowed == []


@each_module
def test_nothing_is_left_unfinished(path):
    with tokenize.open(path) as file:
        words = [f"{n}: {line.strip()}" for n, line in enumerate(file, 1) if UNFINISHED.search(line)]
    assert words == []


@each_module
def test_no_condition_is_constant(path):
    constant = [
        node.lineno
        for node in ast.walk(parse(path))
        if isinstance(node, ast.If | ast.IfExp) and isinstance(node.test, ast.Constant)
    ]
    assert constant == []


@each_module
def test_no_error_passes_in_silence(path):
    handlers = [node for node in ast.walk(parse(path)) if isinstance(node, ast.ExceptHandler)]
    assert [node.lineno for node in handlers if node.type is None] == []
    silent = [node.lineno for node in handlers if all(isinstance(step, ast.Pass) for step in node.body)]
    assert silent == []


@each_module
def test_the_environment_is_read_when_used_and_not_at_import(path):
    tree = parse(path)
    inside = {id(node) for function in functions(tree) for node in ast.walk(function)}
    early = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"} and id(node) not in inside
    ]
    assert early == []


@each_module
def test_every_module_explains_itself_and_keeps_annotations_as_strings(path):
    tree = parse(path)
    assert ast.get_docstring(tree), "write what the module is for"
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert future or len(tree.body) == 1
