"""The rules of the code: import order, which module may import which library, what must never run."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "seq2seq"

# In import order: each imports only from those before it. `seq2seq/__init__.py` hands out `Translator`
# lazily, and is the one that may look ahead.
HOUSE = [
    "version", "errors", "system", "config", "text", "drawing", "device", "ragged", "corpus", "tokenizer", "batching",
    "model", "decoding", "runs", "interop", "attention", "translation", "evaluation", "training", "cli", "__main__",
]  # fmt: skip

# Outside library -> the modules it enters by. Numbers are every module's business from corpus on, so torch
# and numpy have several; nothing that `--help` needs is among them.
DOORS = {
    "pydantic": {"config"},
    "tomllib": {"config.layers"},
    "tomli_w": {"config.layers"},
    "datasets": {"corpus.hub"},
    "huggingface_hub": {"corpus.hub"},  # comes with datasets
    "pyarrow": {"corpus.store", "text.zstd"},
    "sentencepiece": {"tokenizer"},
    "safetensors": {"runs.tensors"},
    "sacrebleu": {"evaluation"},
    "ctranslate2": {"interop", "translation.engines.ctranslate2"},
    "tensorboard": {"training.tensorboard"},
    "typer": {"cli"},
    "rich": {"cli"},
    "numpy": {
        "corpus.alignment",
        "corpus.store",
        "tokenizer",
        "ragged",
        "batching",
        "training.overlap",
        "training.loader",
        "training.stream_loader",
        "training.lexicon",
    },
    "torch": {"device", "batching", "model", "decoding", "runs", "attention", "translation", "training", "interop"},
    # Not outside, but doors all the same.
    "subprocess": {"tokenizer"},
    "threading": {
        "system.collector",
        "system.processes",
        "training.parallel.ranks",
        "translation.windows",
        "translation.workers",
    },
    "multiprocessing": {"training.parallel", "translation.workers"},
    "signal": {"cli.signals", "system.processes"},
    "fcntl": {"system.lock"},
    "msvcrt": {"system.lock"},
}
# A model folder is data: what would run code from it has no door.
NO_DOOR = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "runpy", "ctypes"}
# Only the libraries above talk to a network.
NO_DOOR |= {"socket", "urllib", "http", "ftplib", "requests", "httpx"}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """``seq2seq/corpus/hub.py`` -> ``corpus.hub``; the package itself is ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported anywhere in a file, as ``a.b``, or ``a.b.name`` where a name is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides where it goes"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in files()}
OWN = {  # module -> modules of the project it imports
    name: {
        next(known for known in (rest, rest.rpartition(".")[0], "__init__") if known in TREES)
        for rest in (word.partition(".")[2] for word in imports_of(tree) if word.partition(".")[0] == "seq2seq")
    }
    for name, tree in TREES.items()
}


def is_within(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


# Order ----------------------------------------------------------------------------------------------


def test_the_package_has_the_modules_of_the_design():
    there = {name.partition(".")[0] for name in TREES}
    assert there == {*HOUSE, "__init__"}


def test_each_module_imports_only_from_those_before_it():
    assert OWN["__init__"] == {"translation", "version"}
    place = {room: i for i, room in enumerate(HOUSE)}
    offenders = []
    for name, others in OWN.items():
        if name == "__init__":
            continue
        if "__init__" in others:
            offenders.append(f"{name} imports the package itself, whose front door leads below")
        here = place[name.partition(".")[0]]
        offenders += [f"{name} imports {o}" for o in others - {"__init__"} if place[o.partition(".")[0]] > here]
    assert not offenders


def test_there_are_no_circular_imports():
    order = list(graphlib.TopologicalSorter({n: own - {n} for n, own in OWN.items() if n != "__init__"}).static_order())
    assert order.index("errors") < order.index("text") < order.index("corpus.readers") < order.index("cli")


def test_errors_imports_nothing():
    assert OWN["errors"] == set()
    assert set(imports_of(TREES["errors"])) <= {"enum.IntEnum"}


# The waist ------------------------------------------------------------------------------------------


def test_decoding_knows_a_model_by_its_decoder():
    known = {
        word.removeprefix("seq2seq.model.")
        for name, tree in TREES.items()
        for word in imports_of(tree)
        if is_within(name, "decoding") and word.startswith("seq2seq.model")
    }
    assert known == {"Decoder", "Logits"}


def test_nothing_outside_the_model_names_an_architecture():
    """Except exports to a format of one architecture."""
    outside = {name for name in TREES if not is_within(name, "model") and not is_within(name, "interop.ctranslate2")}
    named = [f"{name} imports {o}" for name in outside for o in OWN[name] if is_within(o, "model.transformer")]
    assert not named


def test_one_file_uses_private_names_of_pytorch():
    private = re.compile(r"torch(\.\w+)*\._[a-z]\w*")
    users = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and private.fullmatch(ast.unparse(node))
    }
    assert users == {"model.products"}


# Doors ----------------------------------------------------------------------------------------------


def entries() -> dict[str, set[str]]:
    """Library -> modules of ours that import it."""
    found = defaultdict(set)
    for name, tree in TREES.items():
        for word in imports_of(tree):
            found[word.partition(".")[0]].add(name)
    return found


def test_each_library_is_imported_only_by_its_modules():
    found = entries()
    outside = set(found) - set(sys.stdlib_module_names) - {"seq2seq", "_typeshed"}
    assert outside <= set(DOORS), "a new library needs a door"
    for library, doors in DOORS.items():
        strays = {name for name in found[library] if not any(is_within(name, door) for door in doors)}
        assert not strays, f"{library} enters by {strays}, not by {doors} alone"
        unused = {
            door for door in doors if found[library] and not any(is_within(name, door) for name in found[library])
        }
        assert not unused, f"{library} has no use for its door {unused}"


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_no_text_names_another_project_to_install():
    """The name ``seq2seq`` on the package index belongs to another project. Ours is installed from a folder."""
    pattern = re.compile(r"(pip3?|pipx|uv pip|uv tool) (install|run)\b[^\n]*?[\s'\"]seq2seq\b")
    texts = [
        *files(),
        *(ROOT / name for name in ("Makefile", "constraints.txt", "data/README.md")),
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
    ]
    texts += ROOT.glob("data/recipes/*")
    offenders = [
        f"{path}: {found[0]}" for path in texts for found in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not offenders
    assert all(pattern.search(f"pip install {words}") for words in ("'seq2seq[ctranslate2]'", "-U seq2seq"))


def test_the_distribution_has_a_name_of_its_own():
    """Its command and the name that Python imports are shorter."""
    assert PROJECT["name"] == "seq2seq-translate"
    assert PROJECT["scripts"] == {"seq2seq": "seq2seq.cli:main"}
    own = [line for extra in PROJECT["optional-dependencies"].values() for line in extra if line.startswith("seq2seq")]
    assert own == ["seq2seq-translate[ctranslate2]"]


def test_declared_dependencies_are_those_that_are_imported():
    declared = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in PROJECT["dependencies"]}
    optional = PROJECT.get("optional-dependencies", {})
    extras = {re.match(r"[\w-]+", line)[0] for extra, lines in optional.items() if extra != "test" for line in lines}
    outside = set(entries()) - set(sys.stdlib_module_names) - {"seq2seq", "_typeshed", "huggingface_hub"}
    assert declared <= outside <= declared | extras


# What may never run ---------------------------------------------------------------------------------


# Functions of the C library that is already loaded, which Python does not offer.
C_FUNCTIONS = {
    "system.allocator": ["ctypes.CDLL", "ctypes.CDLL(None).mallopt"],
    "system.processes": ["ctypes.CDLL", "ctypes.CDLL(None).prctl", "ctypes.c_ulong"],
}


FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
FORBIDDEN_CALLS |= {"torch.load", "torch.save", "torch.jit.load", "torch.package.PackageImporter"}
FORBIDDEN_CALLS |= {"os.system", "os.popen", "importlib.import_module"}
FORBIDDEN_ARGUMENTS = {"shell", "allow_pickle", "trust_remote_code"}


def dangers(name: str, tree: ast.AST) -> Iterator[str]:
    """Imports and calls of a file that could execute data."""
    allowed = {"ctypes"} if name in C_FUNCTIONS else set()
    for library in {word.partition(".")[0] for word in imports_of(tree)} & NO_DOOR - allowed:
        yield f"{name} imports {library}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS or called.startswith(("os.exec", "os.spawn")):
                yield f"{name} calls {called}"
            for argument in {word.arg for word in node.keywords} & FORBIDDEN_ARGUMENTS:
                yield f"{name} calls {called} with {argument}"


def test_no_module_executes_data():
    assert not [danger for name, tree in TREES.items() for danger in dangers(name, tree)]


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from urllib import request",
        "eval(x)",
        "torch.load(p)",
        "os.execv(p, [])",
        "run(x, shell=True)",
    ],
)
def test_execution_of_data_is_detected(line):
    assert list(dangers("corpus", ast.parse(line)))


def test_each_file_calls_only_its_c_functions():
    for name, functions in C_FUNCTIONS.items():
        attributes = [ast.unparse(node) for node in ast.walk(TREES[name]) if isinstance(node, ast.Attribute)]
        assert sorted(attribute for attribute in attributes if "ctypes" in attribute) == functions, name


def modules_after(program: str) -> set[str]:
    """Modules that a new interpreter has imported at the end of a program."""
    program += "\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd="/")
    assert ran.returncode == 0, ran.stderr
    return set(ran.stderr.split())


HELP = """
import contextlib, runpy, sys
sys.argv = {argv}
with contextlib.suppress(SystemExit):
    runpy.run_module("seq2seq", run_name="__main__")
"""
HEAVY = {"torch", "numpy", "pyarrow", "datasets", "sentencepiece", "sacrebleu", "safetensors", "ctranslate2"}


@pytest.mark.parametrize(
    "program",
    ["import seq2seq", *(HELP.format(argv=["seq2seq", *w]) for w in (["--help"], ["train", "--help"], ["--version"]))],
    ids=["import", "help", "train help", "version"],
)
def test_light_modules_import_no_heavy_libraries(program):
    imported = modules_after(program)
    assert "seq2seq" in imported
    assert ("seq2seq.cli" in imported) == ("runpy" in program)
    assert not imported & HEAVY


def test_runs_are_listed_without_heavy_libraries(tmp_path):
    golden, picture = ROOT / "tests" / "golden" / "run", tmp_path / "curves.svg"
    imported = modules_after(HELP.format(argv=["seq2seq", "runs", str(golden), "-o", str(picture)]) + "\nprint()")
    assert "seq2seq.runs" in imported
    assert not imported & HEAVY


def test_the_translator_is_imported_lazily():
    assert {"torch", "seq2seq.translation"} <= modules_after("from seq2seq import Translator")


# Form -----------------------------------------------------------------------------------------------


def n_lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def test_files_are_short():
    """A longer file should become a folder of the same name."""
    assert not [f"{name_of(path)}: {n_lines(path)} lines" for path in files() if n_lines(path) > 400]


def test_files_have_docstrings():
    assert not [path for path in files() if path.stem.endswith(("utils", "helpers", "manager", "common", "misc"))]
    assert not [name for name, tree in TREES.items() if not ast.get_docstring(tree)]


COMMANDS = sorted(path for path in (PACKAGE / "cli").glob("*.py") if "_command(" in path.read_text(encoding="utf-8"))


def test_every_command_has_a_module():
    assert {path.stem for path in COMMANDS} >= {"train", "translate", "eval", "export"}


def test_a_command_is_one_short_file():
    offenders = []
    for path in COMMANDS:
        if path.stem == "__init__":
            continue
        functions = [node.name for node in TREES[name_of(path)].body if isinstance(node, ast.FunctionDef)]
        commands = [name for name in functions if name.endswith("_command")]
        if n_lines(path) > 60 or commands != [f"{path.stem}_command"]:
            offenders.append(f"{name_of(path)}: {n_lines(path)} lines, commands {commands}")
    assert not offenders


def test_arguments_are_explicit():
    offenders = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.kwarg:
                offenders.append(f"{name}.{node.name} takes **{node.args.kwarg.arg}")
            elif isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                offenders.append(f"{name} imports * from {node.module}")
    assert not offenders


def aliases(tree: ast.Module) -> Iterator[str]:
    """Names that a file gives to types: ``Ids = list[int]``."""
    kinds = re.compile(
        r"(list|tuple|dict|Sequence|Mapping|Iterator|Callable|Generator|Literal|(npt\.)?NDArray)\[|\w+ \| "
    )
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[0].isupper() and not name.isupper() and kinds.match(ast.unparse(node.value)):
                yield name


def test_a_name_of_a_type_has_one_meaning():
    found = [alias for tree in TREES.values() for alias in aliases(tree)]
    found += [node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert {"EncodingErrors", "Translator"} <= set(found)
    assert not {name for name in found if found.count(name) > 1}


# Words ----------------------------------------------------------------------------------------------


OPTION = re.compile(r"(?<![\w-])(?:--[a-z][\w-]*|-[a-z](?![\w-]))")
# Options of other programs, by file.
FOREIGN_OPTIONS = {
    "corpus.rows": {"-c"},  # of jq
    "corpus.unreadable": {"-c", "-d", "-o"},  # of jq, lz4, msgunfmt
    "system.files": {"-f"},  # of ulimit
    "text.first_bytes": {"-d", "-f", "-t"},  # of lz4, iconv
    "tokenizer.__main__": {"-m"},  # of python
    "tokenizer.model": {"--unk_id", "--bos_id", "--eos_id", "--pad_id"},  # of spm_train
    "tokenizer.train": {"-m"},  # of python
    "training.checks": {"--max-restarts"},  # of torchrun
    "training.parallel.ranks": {"--max-restarts"},  # of torchrun
}


def options_in(tree: ast.AST) -> set[str]:
    """Options that the strings and docstrings of a file name."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {option for text in texts for option in OPTION.findall(text)}


def test_rooms_name_keys_and_not_options():
    """The command line replaces `data.train` by ``--train`` (``cli/flags.py``)."""
    rooms = {name: tree for name, tree in TREES.items() if not is_within(name, "cli") and name != "__main__"}
    assert {name: found for name, tree in rooms.items() if (found := options_in(tree))} == FOREIGN_OPTIONS


@pytest.mark.parametrize("line", ['"give --set x"', 'f"give -b {n}"', '"""As ``--train`` takes it."""', "f(mend='-o')"])
def test_an_option_is_noticed(line):
    assert options_in(ast.parse(line))
