"""The wheel contains every file of the package, and an installed copy works outside the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from reversal import reversal_lines, write_reversal

from seq2seq.version import VERSION

pytestmark = pytest.mark.slow  # building takes some seconds, each process of the installed copy imports torch

ROOT = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def run(*words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None, text: str = "") -> str:
    """Run a command that must succeed. Returns its stdout."""
    done = subprocess.run([*map(str, words)], input=text, capture_output=True, text=True, env=env, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_of_the_package() -> set[str]:
    """All files below ``seq2seq/``, by their path in the repository."""
    paths = [path for path in (ROOT / "seq2seq").rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    return {str(path.relative_to(ROOT)) for path in paths}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel that is built from a copy, as setuptools writes into the folder that it builds."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "seq2seq", source / "seq2seq", ignore=shutil.ignore_patterns("__pycache__"))
    # Without the network: with setuptools from this environment, and no dependencies.
    run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", target, source)
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> dict[str, str]:
    """Environment variables that make Python find an installed copy before the repository."""
    folder = tmp_path_factory.mktemp("installed")
    run(*PIP, "install", "--no-deps", "--no-index", "--target", folder, wheel)
    return os.environ | {"PYTHONPATH": str(folder), "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def test_it_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if name.startswith("seq2seq/")} == files_of_the_package()
    assert {"seq2seq/py.typed", "seq2seq/model/transformer/fast/__init__.py"} <= names


def test_it_holds_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {"seq2seq", f"seq2seq_translate-{VERSION}.dist-info"}


def test_its_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        texts = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    assert f"Name: seq2seq-translate\nVersion: {VERSION}\n" in texts["METADATA"]
    assert "License-File: LICENSE" in texts["METADATA"]
    assert "# seq2seq\n" in texts["METADATA"], "the README"
    assert "seq2seq = seq2seq.cli:main" in texts["entry_points.txt"]
    assert "Apache License" in texts["LICENSE"]


def test_an_installed_copy_trains_and_translates(installed, tmp_path):
    where = run(sys.executable, "-c", "import seq2seq; print(seq2seq.__file__)", env=installed, cwd=tmp_path)
    assert Path(where).is_relative_to(installed["PYTHONPATH"]), "not the one of the repository"
    write_reversal(tmp_path / "train", reversal_lines(300, seed=1))
    limits = ["--max-updates", "2", "--preset", "tiny", "--set", "data.vocab_size=300"]
    run("seq2seq", "train", "-l", "ab-ba", "--train", "train", "-o", "run", *limits, env=installed, cwd=tmp_path)
    lines = run("seq2seq", "translate", "run", env=installed, cwd=tmp_path, text="a b c\n\nd e\n")
    assert lines.count("\n") == 3
    # The meanings of keys are read from the source of the package.
    assert "model.d_model = 256" in run("seq2seq", "config", "d_model", env=installed, cwd=tmp_path)
