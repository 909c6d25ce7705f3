"""The run folder: damaged data is refused, and a crash at any point leaves the old state or the new."""

import builtins
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from itertools import count

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq import runs as ck
from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import manifest as manifest_file

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX alone")


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"encoder.w": torch.full((3, 4), value), "steps": torch.tensor([7], dtype=torch.int64)}


def manifest_of(**fields):
    return ck.Manifest(files={}, **{"update": 0, "finished": False, **fields})


def make_run(folder, value=1.0, update=5, **changes):
    """Commit weights; the first commit also has the files that never change."""
    fields = {
        "update": update,
        "versions": {"seq2seq": "0.1.0"},
        "scores": {"bleu": 31.5},
        "corpora": [{"corpus": "höher", "pairs": 12}],
        **changes,
    }
    old = ck.read_manifest(folder).files if (folder / "manifest.json").exists() else {}
    constant = {"config.toml": b"name = 'run'\n", "tokenizer.model": b"\x00pieces\xff"}
    files = {name: content for name, content in constant.items() if name not in old}
    files[ck.model_name(update, old)] = weights(value)
    return ck.commit(folder, manifest_of(**fields), files, old.keys() & constant.keys())


def _weights(folder):
    manifest = ck.read_manifest(folder)
    return manifest, manifest.weights


def read_run(folder):
    """Everything that a reader reads from the folder, so that two states can be compared."""
    manifest = ck.read_manifest(folder)
    assert set(ck.read_tensors(folder, manifest, manifest.weights)) == {"encoder.w", "steps"}
    return manifest, {name: ck.read_file(folder, manifest, name) for name in manifest.files}


@contextmanager
def refused(code, match=None):
    """Expect a ``UserError`` with this exit code, in one line, with advice."""
    with pytest.raises(UserError, match=match) as info:
        yield info
    assert info.value.code == code, info.value
    assert info.value.mend
    assert "\n" not in str(info.value)


# --- written and read -------------------------------------------------------------------


def test_a_commit_can_be_read(tmp_path, real_fsync):
    limits = ck.Limits(max_updates=30, time_budget=2.5)
    manifest = make_run(tmp_path / "a" / "run", length_penalty=0.6, limits=limits)
    read, files = read_run(tmp_path / "a" / "run")
    assert read == manifest
    assert (read.format, read.update, read.finished) == (1, 5, False)
    assert (read.length_penalty, read.limits, read.max_src_length) == (0.6, limits, None)
    assert read.corpora == [{"corpus": "höher", "pairs": 12}]
    assert files["tokenizer.model"] == b"\x00pieces\xff"
    for name, data in files.items():
        assert hashlib.sha256(data).hexdigest() == manifest.files[name]
    torch.testing.assert_close(
        ck.read_tensors(tmp_path / "a" / "run", manifest, "model-00000005.safetensors"), weights(1.0)
    )


def test_a_commit_deletes_old_weights_and_keeps_a_users_files(tmp_path):
    make_run(tmp_path)
    theirs = ["notes.txt", "model-best.safetensors", "config.toml.new", ".tmpfiles", "README.md", ".tmp-"]
    for name in theirs:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".tmp-manifest.json").write_text("left by a crash")
    (tmp_path / ".tmpAb3dE6").write_text("left by a crash of safetensors")
    old = ck.read_manifest(tmp_path)
    new = ck.commit(
        tmp_path, manifest_of(update=9), {ck.model_name(9): weights(2.0)}, ["config.toml", "tokenizer.model"]
    )
    assert new.files["config.toml"] == old.files["config.toml"]
    assert new.weights == "model-00000009.safetensors"
    assert {p.name for p in tmp_path.iterdir()} == {*theirs, *new.files, "manifest.json"}


@pytest.mark.parametrize(
    "fields",
    [{"scores": {"bleu": 1e-300, "n": 2**70, "ü": "\ud800"}}, {"corpora": [{"é": [1, {"x": None}]}], "seconds": 3}],
)
def test_keys_that_json_converts_can_be_read(tmp_path, fields):
    assert make_run(tmp_path, **fields) == ck.read_manifest(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text().filter(lambda key: key != "checksum"), JSON, max_size=5))
def test_any_json_survives_a_manifest(payload):
    assert manifest_file.load_manifest(manifest_file.dump_manifest(payload), "where") == payload


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_only_our_own_bytes_are_a_manifest(data):
    with refused(ExitCode.REFUSED):
        manifest_file.load_manifest(data, "where")


def test_nan_is_refused(tmp_path):
    before = make_run(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        make_run(tmp_path, scores={"loss": float("nan")})
    assert ck.read_manifest(tmp_path) == before


@posix
def test_weights_are_as_readable_as_other_files(tmp_path):
    make_run(tmp_path)
    assert len({p.stat().st_mode for p in tmp_path.iterdir()}) == 1


# --- missing or damaged -----------------------------------------------------


def test_missing_things(tmp_path):
    with refused(ExitCode.NO_INPUT, "does not exist"):
        ck.read_manifest(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with refused(ExitCode.NO_INPUT, "is not a folder"):
        ck.read_manifest(tmp_path / "file")
    with refused(ExitCode.NO_INPUT, "is not a run folder"):
        ck.read_manifest(tmp_path)


@pytest.mark.parametrize("sign", [".lock", "checkpoints"])
def test_a_run_before_its_first_validation(tmp_path, sign):
    (tmp_path / sign).mkdir()
    with refused(ExitCode.NO_INPUT, "holds no finished model yet; let train run until its first validation"):
        ck.read_manifest(tmp_path)


def test_an_unreadable_file(tmp_path, monkeypatch):
    make_run(tmp_path)

    def closed(path, mode="r", *rest, **named):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(builtins, "open", closed)
    with refused(ExitCode.NO_INPUT, r"manifest\.json cannot be read: Permission denied"):
        ck.read_manifest(tmp_path)


def test_every_flipped_bit_of_a_manifest_is_detected(tmp_path):
    make_run(tmp_path)
    data = (tmp_path / "manifest.json").read_bytes()
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            with pytest.raises(UserError):
                manifest_file.load_manifest(bytes(flipped), tmp_path)
        (tmp_path / "manifest.json").write_bytes(flipped)
        with pytest.raises(UserError) as error:
            ck.read_manifest(tmp_path)
        assert error.value.code == ExitCode.REFUSED
    (tmp_path / "manifest.json").write_bytes(data)
    ck.read_manifest(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data + b"{}",
        lambda data: data.replace(b'"update": 5', b'"update":  5'),
        lambda data: data.replace(b'"update": 5', b'"update": 5,\n  "update": 5'),
        lambda data: data.replace(b'"update": 5', b'"update": 6'),
        lambda data: data.replace(b'"update": 5', b'"update": NaN'),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"[" * 100_000,
        lambda data: b"1" * 10_000,
        lambda data: b"[]",
        lambda data: b"null",
    ],
)
def test_other_damage_to_a_manifest(tmp_path, damage):
    make_run(tmp_path)
    data = (tmp_path / "manifest.json").read_bytes()
    assert damage(data) != data
    (tmp_path / "manifest.json").write_bytes(damage(data))
    with refused(ExitCode.REFUSED, "damaged"):
        ck.read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["config.toml", "tokenizer.model", "model-00000005.safetensors"])
def test_damage_to_a_hashed_file_is_detected_before_parsing(tmp_path, name, monkeypatch):
    manifest = make_run(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    monkeypatch.setattr(safetensors.torch, "load", lambda data: pytest.fail("parsed before its hash was checked"))

    def check(content):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{name} is damaged") as error:
            ck.read_tensors(tmp_path, manifest, name)
        assert error.value.code == ExitCode.REFUSED

    dice = random.Random(1)
    for place in sorted(dice.sample(range(len(data)), min(300, len(data)))):
        check(data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :])
    for content in (b"", data[:-1], data + b"\0", data[::-1]):
        check(content)
    path.unlink()
    with refused(ExitCode.REFUSED, f"{name} is missing"):
        ck.read_file(tmp_path, manifest, name)
    path.write_bytes(data)
    assert ck.read_file(tmp_path, manifest, name) == data


def test_a_file_never_changes_while_a_manifest_names_it(tmp_path):
    """Otherwise a reader could not distinguish an interrupted commit from damage."""
    before = make_run(tmp_path)
    for name in before.files:
        with pytest.raises(ValueError, match="needs a new name"):
            ck.commit(tmp_path, manifest_of(update=6), {name: b"other"})
    assert read_run(tmp_path)[0] == before
    again = make_run(tmp_path, value=2.0)  # validated again, on other cores
    assert again.weights == "model-00000005-2.safetensors"
    assert make_run(tmp_path, value=3.0).weights == "model-00000005.safetensors"
    assert sorted(p.name for p in tmp_path.glob("model-*")) == ["model-00000005.safetensors"]


def reseal(folder, **changes):
    """A changed manifest with a valid checksum."""
    payload = json.loads((folder / "manifest.json").read_bytes())
    del payload["checksum"]
    payload = {key: value for key, value in {**payload, **changes}.items() if value is not ...}
    (folder / "manifest.json").write_bytes(manifest_file.dump_manifest(payload))


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({"format": 2, "versions": {"seq2seq": "0.9.3"}}, "use the seq2seq 0.9.x"),
        ({"format": 2, "new_key": []}, "use the seq2seq 0.1.x"),
        ({"format": 0, "versions": {"seq2seq": "\x1b[2J; rm"}}, "use the seq2seq that wrote it"),
        ({"format": "1", "versions": 3}, "use the seq2seq that wrote it"),
        ({"format": True, "versions": {}}, "use the seq2seq that wrote it"),
        ({"format": ..., "versions": {}}, "use the seq2seq that wrote it"),
    ],
)
def test_another_format(tmp_path, changes, mend):
    make_run(tmp_path)
    reseal(tmp_path, **changes)
    with refused(ExitCode.REFUSED, "this program reads format 1") as error:
        ck.read_manifest(tmp_path)
    assert error.value.mend == mend


def test_keys_of_a_later_version_are_ignored_and_missing_ones_get_their_defaults(tmp_path):
    made = make_run(tmp_path, length_penalty=0.6, patience=3)
    reseal(tmp_path, invented_later={"a": [1]}, limits={"max_updates": 7, "until": "noon"})
    assert ck.read_manifest(tmp_path) == replace(made, limits=ck.Limits(max_updates=7))
    optional = {f.name for f in fields(ck.Manifest)} - {"format", "files", "update", "finished"}
    reseal(tmp_path, **dict.fromkeys(optional, ...))
    read = ck.read_manifest(tmp_path)
    assert read == ck.Manifest(files=made.files, update=made.update, finished=made.finished)
    assert (read.length_penalty, read.patience, read.limits) == (None, 0, ck.Limits())


EVIL_NAMES = [
    "../x",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    ".lock",
    "x\n",
    "x\0",
    "manifest.json",
    "-x",
    "ü",
    "C:x",
]


@pytest.mark.parametrize(
    "changes",
    [
        *({"files": {name: "0" * 64}} for name in EVIL_NAMES),
        {"files": {"config.toml": "0" * 63}},
        {"files": {"config.toml": 1}},
        {"files": []},
        {"update": "5"},
        {"update": -1},
        {"update": True},
        {"finished": 1},
        {"versions": {"torch": 2}},
        {"corpora": {}},
        {"corpora": [1]},
        {"scores": []},
        {"update": ...},
        {"files": ...},
        {"length_penalty": "0.5"},
        {"length_penalty": -0.5},
        {"max_src_length": 1},
        {"max_src_length": 1.5},
        {"max_src_sentences": 0},
        {"limits": {"max_updates": "3"}},
        {"limits": None},
        {"seconds": None},
    ],
)
def test_a_manifest_with_a_valid_checksum_and_another_shape(tmp_path, changes):
    make_run(tmp_path)
    reseal(tmp_path, **changes)
    with refused(ExitCode.REFUSED):
        ck.read_manifest(tmp_path)


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_no_file_name_leads_outside_the_folder(tmp_path, name):
    (tmp_path / "x").write_bytes(b"secret")
    run = tmp_path / "run"
    manifest = make_run(run)
    with refused(ExitCode.REFUSED, "does not name a file"):
        ck.read_file(run, manifest, name)
    with refused(ExitCode.REFUSED):
        manifest_file.read_hashed(run, name, hashlib.sha256(b"secret").hexdigest())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="plain file names"):
        ck.commit(run, manifest_of(), {name: b"evil"})
    assert sorted(tmp_path.rglob("*")) == before


@posix
def test_links(tmp_path):
    run = tmp_path / "run"
    manifest = make_run(run)
    (tmp_path / "link").symlink_to(run)
    assert read_run(tmp_path / "link")[0] == manifest  # the folder itself may be one

    (run / "inside").symlink_to("config.toml")
    inside = (run / "config.toml").read_bytes()
    assert manifest_file.read_hashed(run, "inside", manifest.files["config.toml"]) == inside

    # Even the right bytes: a link to a device or a pipe would not end.
    shutil.move(run / "config.toml", tmp_path / "outside.toml")
    (run / "config.toml").symlink_to("../outside.toml")
    with refused(ExitCode.REFUSED, "is a link to a place outside its folder"):
        ck.read_file(run, manifest, "config.toml")
    (run / "config.toml").unlink()
    (run / "config.toml").symlink_to("config.toml")
    with refused(ExitCode.REFUSED, "link to itself"):
        ck.read_file(run, manifest, "config.toml")
    (run / "config.toml").unlink()
    os.mkfifo(run / "config.toml")
    with refused(ExitCode.REFUSED, "is not a file"):
        ck.read_file(run, manifest, "config.toml")
    (run / "config.toml").unlink()
    (run / "config.toml").mkdir()
    with refused(ExitCode.REFUSED, "is not a file"):
        ck.read_file(run, manifest, "config.toml")


@posix
def test_a_write_does_not_follow_links(tmp_path):
    run = tmp_path / "run"
    manifest = make_run(run)
    (tmp_path / "precious").write_text("mine")
    for name in [*manifest.files, "manifest.json"]:
        (run / f".tmp-{name}").symlink_to(tmp_path / "precious")
    make_run(run, value=2.0)
    assert (tmp_path / "precious").read_text() == "mine"
    read_run(run)
    assert not [p for p in run.iterdir() if p.is_symlink()]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04pickle",
        b"\xff" * 64,
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        safetensors.torch.save({"w": torch.ones(9)})[:-1],
        (lambda h: len(h).to_bytes(8, "little") + h)(b'{"w":{"dtype":"F4","shape":[0],"data_offsets":[0,0]}}'),
    ],
)
def test_a_file_that_is_not_safetensors(data):
    with refused(ExitCode.REFUSED, "somewhere does not hold tensors"):
        ck.load_tensors(data, "somewhere")


def test_weights_must_be_one_file(tmp_path):
    manifest = ck.commit(tmp_path, manifest_of(), {"config.toml": b""})
    with refused(ExitCode.REFUSED, "names 0 files of weights"):
        _ = manifest.weights


def test_a_commit_while_reading_is_not_reported_as_damage(tmp_path):
    old = make_run(tmp_path)
    make_run(tmp_path, value=2.0, update=6)
    with refused(ExitCode.TRY_LATER, "was replaced while it was read"):
        ck.read_file(tmp_path, old, old.weights)
    assert ck.read_file(tmp_path, old, "config.toml")  # which has not changed


def test_files_that_cannot_be_kept(tmp_path):
    with pytest.raises(ValueError, match=r"config\.toml"):
        ck.commit(tmp_path, manifest_of(), {}, ["config.toml"])
    make_run(tmp_path)
    (tmp_path / "config.toml").unlink()
    with refused(ExitCode.REFUSED, r"config\.toml is missing"):
        ck.commit(tmp_path, manifest_of(), {}, ["config.toml"])
    (tmp_path / "manifest.json").write_text("{}")
    with refused(ExitCode.REFUSED, "damaged"):
        make_run(tmp_path)


# --- crashes -----------------------------------------------------------------------------------


class CrashError(BaseException):
    """A power cut: nothing after it runs, not even ``except`` and ``finally``."""


class Disk:
    """Counts the system calls that change the disk, and fails at one of them.

    Args:
        at: number of the call that fails; calls count from 1.
        error: given, that one call fails with it; else the machine dies there, which every later call
            feels too.
        after: the call does its work before the machine dies.
    """

    def __init__(self, monkeypatch, at=None, error=None, after=False):
        self.calls, self.at, self.error, self.after = 0, at, error, after
        self.log, self.flushed = [], set()
        for module, names in (
            (os, ("replace", "rename", "unlink", "mkdir", "rmdir", "fsync", "chmod")),
            (safetensors.torch, ("save_file",)),
            (builtins, ("open",)),
        ):
            for name in names:
                monkeypatch.setattr(module, name, self.failing(name, getattr(module, name)))

    def failing(self, name, real):
        def call(*args, **named):
            if name == "open" and not set(args[1] if len(args) > 1 else "r") & set("xwa+"):
                return real(*args, **named)
            self.calls += 1
            if self.at is None or self.calls < self.at or (self.error and self.calls > self.at):
                self.note(name, args)
                return real(*args, **named)
            if self.error:
                if name == "save_file":  # as safetensors reports it
                    raise safetensors.SafetensorError(f"Error: I/O error: (os error {self.error.errno})")
                raise self.error
            if self.calls == self.at:
                if self.after:
                    done = real(*args, **named)
                    if name == "open":
                        done.close()
                elif name == "save_file":
                    with real_open(args[1], "wb") as file:
                        file.write(b"half a")
            raise CrashError

        real_open = open
        return call

    def note(self, name, args):
        """Check the order of calls that survives a power cut."""
        if name == "fsync":
            self.flushed.add(os.fstat(args[0]).st_ino)
            self.log.append(("fsync", os.fstat(args[0]).st_ino))
        elif name in ("replace", "rename"):
            source = args[0]
            if "deleted" not in str(args[1]):
                # A file must be flushed before it is renamed; so must every file of a renamed folder.
                for path in [source, *(source.iterdir() if source.is_dir() else ())]:
                    assert path.stat().st_ino in self.flushed, f"{path} is renamed before it is flushed"
            self.log.append((name, str(args[1])))
        elif name == "unlink":
            self.log.append((name, str(args[0])))


def crash_points(monkeypatch, before, act, **how):
    """Run ``act`` again and again, failing at its first call, its second, … until it gets through."""
    for at in count(1):
        folder = before()
        with monkeypatch.context() as patch:
            disk = Disk(patch, at, **how)
            try:
                act(folder)
                raised = None
            except (CrashError, UserError) as error:
                raised = error
        yield at, folder, raised
        if disk.calls < at:
            assert at > 10, "the simulation sees hardly a call"
            return


@pytest.fixture
def fresh(tmp_path):
    """A function that copies a prepared run."""
    numbers = count()

    def make(prepare):
        folder = tmp_path / f"run{next(numbers)}"
        if not (tmp_path / "origin").exists():
            (tmp_path / "origin").mkdir()
            prepare(tmp_path / "origin")
        shutil.copytree(tmp_path / "origin", folder)
        return folder

    return make


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("new_update", [5, 6])
def test_a_crash_in_a_commit_leaves_the_old_or_the_new_state(fresh, tmp_path, monkeypatch, after, new_update):
    def change(folder):
        make_run(folder, value=2.0, update=new_update, finished=True)

    make_run(tmp_path / "other")
    change(tmp_path / "other")
    new = read_run(tmp_path / "other")
    seen = []
    for _, folder, raised in crash_points(monkeypatch, lambda: fresh(make_run), change, after=after):
        old = read_run(tmp_path / "origin")
        state = read_run(folder)
        assert state in (old, new)
        assert raised or state == new
        seen.append(state == new)
        if len(seen) % 2:  # a third state after the crash; the other way, the same commit again
            make_run(folder, value=3.0, update=7)
            assert ck.read_manifest(folder).update == 7
        else:
            change(folder)
            again = read_run(folder)
            assert (again[0].update, again[0].finished) == (new[0].update, new[0].finished)
            assert sorted(again[1].values()) == sorted(new[1].values())  # the weights may have their other name
        manifest, _ = read_run(folder)
        assert {p.name for p in folder.iterdir()} == {*manifest.files, "manifest.json"}
    assert seen == sorted(seen), "the new state came and went"
    assert set(seen) == {False, True}


def test_a_crash_in_the_first_commit_leaves_a_run_without_a_model(fresh, monkeypatch):
    for _, folder, raised in crash_points(monkeypatch, lambda: fresh(lambda f: (f / ".lock").touch()), make_run):
        if (folder / "manifest.json").exists():
            read_run(folder)
        else:
            assert raised
            with refused(ExitCode.NO_INPUT, "holds no finished model yet"):
                ck.read_manifest(folder)
        make_run(folder)
        assert {p.name for p in folder.iterdir()} == {*ck.read_manifest(folder).files, "manifest.json", ".lock"}


def read_checkpoint(folder, warn=pytest.fail):
    found = ck.load_checkpoint(folder, warn)
    return found and (found.update, found.state, float(found.tensors["encoder.w"][0, 0]))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("update", [5, 6, 7])
def test_a_crash_in_a_save_leaves_a_complete_newest_checkpoint(fresh, monkeypatch, after, update):
    """For an update with a complete checkpoint, a damaged one, and none. Later damaged ones are deleted."""

    def prepare(folder):
        ck.save_checkpoint(folder, 4, weights(4.0), {"n": 4})
        ck.save_checkpoint(folder, 5, weights(5.0), {"n": 5})
        for damaged in (6, 8):
            flip(ck.save_checkpoint(folder, damaged, weights(6.0), {"n": 6}) / "tensors.safetensors")

    def save(folder):
        ck.save_checkpoint(folder, update, weights(9.0), {"n": 9})

    def read(folder):
        return read_checkpoint(folder, lambda _: None)

    seen = []
    for at, folder, raised in crash_points(monkeypatch, lambda: fresh(prepare), save, after=after):
        new = read(folder) == (update, {"n": 9}, 9.0)
        assert new or read(folder) == (5, {"n": 5}, 5.0), at
        assert raised or new
        seen.append(new)
        save(folder)
        assert read_checkpoint(folder) == (update, {"n": 9}, 9.0)
        ck.prune_checkpoints(folder, 1)
        assert os.listdir(folder / "checkpoints") == [f"update-{update:08d}"]
        assert len(os.listdir(folder / "checkpoints" / f"update-{update:08d}")) == 3
    assert seen == sorted(seen)
    assert set(seen) == {False, True}


def test_a_crash_in_pruning_leaves_the_newest_checkpoint(fresh, monkeypatch):
    def prepare(folder):
        for update in range(3, 6):
            ck.save_checkpoint(folder, update, weights(update), {})

    for at in count(1):
        folder = fresh(prepare)
        with monkeypatch.context() as patch:
            disk = Disk(patch, at)
            with suppress(CrashError):
                ck.prune_checkpoints(folder, 1)
        assert read_checkpoint(folder) == (5, {}, 5.0)
        ck.prune_checkpoints(folder, 1)
        assert os.listdir(folder / "checkpoints") == ["update-00000005"]
        if disk.calls < at:
            break
    assert at > 2


def test_flushes_are_in_the_order_that_survives_a_power_cut(tmp_path, monkeypatch):
    make_run(tmp_path)
    folder = tmp_path.stat().st_ino
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        make_run(tmp_path, value=2.0, update=6)
    manifest = disk.log.index(("replace", str(tmp_path / "manifest.json")))
    deleted = disk.log.index(("unlink", str(tmp_path / "model-00000005.safetensors")))
    last_new = disk.log.index(("replace", str(tmp_path / "model-00000006.safetensors")))
    assert last_new < manifest < deleted
    flushes = [place for place, event in enumerate(disk.log) if event == ("fsync", folder)]
    assert any(last_new < place < manifest for place in flushes)
    assert any(manifest < place < deleted for place in flushes)


# --- a failing disk --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text", "mend"),
    [
        (errno.ENOSPC, "No space left", "free some space; the same command then resumes"),
        (errno.EACCES, "Permission denied", "make that place writable"),
    ],
)
def test_a_failing_disk_leaves_the_old_state(fresh, monkeypatch, number, text, mend):
    def prepare(folder):
        make_run(folder)
        ck.save_checkpoint(folder, 5, weights(5.0), {"n": 5})

    def work(folder):
        ck.save_checkpoint(folder, 6, weights(6.0), {"n": 6})
        make_run(folder, value=2.0, update=6)

    failures = 0
    how = {"error": OSError(number, os.strerror(number))}
    for _, folder, raised in crash_points(monkeypatch, lambda: fresh(prepare), work, **how):
        if raised:  # an error of deleting is ignored
            failures += 1
            assert raised.code == ExitCode.CANNOT_WRITE
            assert text in raised.what
            assert str(folder) in raised.what
            assert mend in raised.mend
        assert read_run(folder)[0].update in (5, 6)
        assert read_checkpoint(folder)[0] in (5, 6)
        work(folder)
        assert (read_run(folder)[0].update, read_checkpoint(folder)[0]) == (6, 6)
    assert failures > 15


@posix
def test_a_file_size_limit_of_the_system(tmp_path):
    import resource

    make_run(tmp_path)
    old = read_run(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {"w": torch.ones(40_000)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        for act in (
            lambda: ck.commit(tmp_path, manifest_of(), {ck.model_name(6): big}),
            lambda: ck.commit(tmp_path, manifest_of(), {"shortlist.safetensors": bytes(200_000)}),
            lambda: ck.save_checkpoint(tmp_path, 6, big, {}),
            lambda: ck.save_checkpoint(tmp_path, 6, {}, {"x": "x" * 200_000}),
            lambda: ck.append_metrics(tmp_path, {"update": 1, "x": "x" * 200_000}),
        ):
            with refused(ExitCode.CANNOT_WRITE, r"File too large; .*\(ulimit -f\); the same command then resumes"):
                act()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_run(tmp_path) == old
    assert os.listdir(tmp_path / "checkpoints") == []
    assert not list(tmp_path.glob(".tmp*"))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    for act in (make_run, ck.RunLock, lambda f: ck.save_checkpoint(f, 1, weights(1.0), {})):
        with refused(ExitCode.CANNOT_WRITE):
            act(tmp_path / "file" / "run")
    with refused(ExitCode.CANNOT_WRITE, "metrics"):
        ck.append_metrics(tmp_path / "missing", {})


# --- checkpoints -------------------------------------------------------------------------------


def test_the_newest_checkpoint_has_the_highest_number(tmp_path):
    assert ck.load_checkpoint(tmp_path / "nothing") is None
    ck.save_checkpoint(tmp_path, 99_999_999, weights(1.0), {})
    path = ck.save_checkpoint(tmp_path, 100_000_000, weights(2.0), {"epoch": [1, {"at": None}]})
    os.utime(path, (0, 0))  # the clock was wrong
    (tmp_path / "checkpoints" / "update-999999999.bak").mkdir()
    found = ck.load_checkpoint(tmp_path)
    assert (found.update, found.path, found.state) == (100_000_000, path, {"epoch": [1, {"at": None}]})
    torch.testing.assert_close(found.tensors, weights(2.0), rtol=0, atol=0)


def test_the_same_update_is_replaced_and_later_ones_are_dropped(tmp_path):
    for update in (5, 6, 7):
        ck.save_checkpoint(tmp_path, update, weights(update), {"n": update})
    for n in (60, 61, 62):
        ck.save_checkpoint(tmp_path, 6, weights(n), {"n": n})
        assert read_checkpoint(tmp_path) == (6, {"n": n}, n)
        assert sorted(os.listdir(tmp_path / "checkpoints")) == ["update-00000005", "update-00000006"]
        assert len(os.listdir(tmp_path / "checkpoints/update-00000006")) == 3


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE = {
    "flip": flip,
    "truncate": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "delete": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["manifest.json", "state.json", "tensors.safetensors"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(tmp_path, name, how):
    for update in (1, 2):
        ck.save_checkpoint(tmp_path, update, weights(update), {"n": update})
    DAMAGE[how](tmp_path / "checkpoints" / "update-00000002" / name)
    messages = []
    assert ck.load_checkpoint(tmp_path, messages.append).update == 1
    assert len(messages) == 1
    assert name in messages[0]
    assert "an older checkpoint than update 2 is used" in messages[0]

    DAMAGE[how](tmp_path / "checkpoints" / "update-00000001" / name)
    with refused(ExitCode.REFUSED, "all 2 checkpoints .* are damaged; .*`overwrite`"):
        ck.load_checkpoint(tmp_path, messages.append)

    ck.save_checkpoint(tmp_path, 2, weights(8.0), {"n": 8})
    assert read_checkpoint(tmp_path) == (2, {"n": 8}, 8.0)


def test_every_flipped_byte_of_a_checkpoint_is_detected(tmp_path):
    path = ck.save_checkpoint(tmp_path, 2, weights(1.0), {"n": 1})
    for file in path.iterdir():
        data = file.read_bytes()
        for place in range(len(data)):
            file.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
            with pytest.raises(UserError, match="all 1 checkpoints"):
                ck.load_checkpoint(tmp_path, lambda _: None)
        file.write_bytes(data)
    assert read_checkpoint(tmp_path)


def test_a_checkpoint_under_another_number_is_damaged(tmp_path):
    ck.save_checkpoint(tmp_path, 1, weights(1.0), {})
    path = ck.save_checkpoint(tmp_path, 2, weights(2.0), {})
    path.rename(path.with_name("update-00000003"))
    messages = []
    assert ck.load_checkpoint(tmp_path, messages.append).update == 1
    assert "holds update 2" in messages[0]


def test_a_checkpoint_of_another_format_is_not_skipped(tmp_path):
    ck.save_checkpoint(tmp_path, 1, weights(1.0), {})
    reseal(ck.save_checkpoint(tmp_path, 2, weights(2.0), {}), format=2, more=1)
    with refused(ExitCode.REFUSED, "has format 2, and this program reads format 1"):
        ck.load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"files": {}}, {"files": {"../x": "0" * 64, "state.json": "0" * 64}}, {"update": ...}, {"files": None}]
)
def test_a_checkpoint_with_a_valid_checksum_and_another_shape(tmp_path, changes):
    reseal(ck.save_checkpoint(tmp_path, 2, weights(2.0), {}), **changes)
    with refused(ExitCode.REFUSED, "`overwrite`"):
        ck.load_checkpoint(tmp_path)


def test_pruning(tmp_path):
    ck.prune_checkpoints(tmp_path, 1)
    for update in range(1, 6):
        ck.save_checkpoint(tmp_path, update, weights(update), {})
    (tmp_path / "checkpoints" / ".tmp-update-00000009").mkdir()
    (tmp_path / "checkpoints" / "mine").mkdir()
    ck.prune_checkpoints(tmp_path, 2)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["mine", "update-00000004", "update-00000005"]
    with pytest.raises(ValueError, match="-1"):
        ck.prune_checkpoints(tmp_path, -1)
    ck.prune_checkpoints(tmp_path, 1, newest=4)  # the fifth is damaged
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["mine", "update-00000004"]
    ck.prune_checkpoints(tmp_path, 0)
    assert os.listdir(tmp_path / "checkpoints") == ["mine"]


def test_tensors_that_share_memory_are_refused(tmp_path):
    shared = torch.ones(3)
    with pytest.raises(RuntimeError, match="share memory"):
        ck.save_checkpoint(tmp_path, 1, {"a": shared, "b": shared}, {})
    assert ck.load_checkpoint(tmp_path) is None


# --- lock --------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from seq2seq.runs import RunLock
held = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@posix
def test_a_lock_of_another_process_is_respected_until_it_is_killed(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        with refused(
            ExitCode.TRY_LATER,
            rf"run is in use by process {other.pid} since \d{{4}}-\d\d-\d\d \d\d:.* give `run` another",
        ):
            ck.RunLock(tmp_path / "run")
        with refused(ExitCode.TRY_LATER):
            ck.move_aside(tmp_path / "run")
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with ck.lock(tmp_path / "run"):
            assert json.loads((tmp_path / "run" / ".lock").read_bytes())["pid"] == os.getpid()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


@posix
def test_a_forked_worker_does_not_hold_our_lock(tmp_path):
    held = ck.RunLock(tmp_path)
    ready, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork; the child only sleeps
        child = os.fork()
    if child == 0:
        held.release()  # as a worker's exit would
        os.write(tell, b"x")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(ready, 1)
        with refused(ExitCode.TRY_LATER):  # the child has not released the parent's lock
            ck.RunLock(tmp_path)
        held.release()
        with ck.lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)


def test_a_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(KeyError), ck.lock(tmp_path):
        raise KeyError
    held = ck.RunLock(tmp_path)
    held.release()
    held.release()
    ck.RunLock(tmp_path).release()


@posix
@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"pid": "x"}', b'{"pid": 1, "since": "\\u001b[2J"}'])
def test_a_lock_file_of_any_content(tmp_path, content):
    with ck.lock(tmp_path):
        (tmp_path / ".lock").write_bytes(content)
        with refused(ExitCode.TRY_LATER, "in use by another process"):
            ck.RunLock(tmp_path)
    ck.RunLock(tmp_path).release()


@posix
def test_a_lock_file_must_not_be_a_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".lock").symlink_to("precious")
    with refused(ExitCode.CANNOT_WRITE, "lock"):
        ck.RunLock(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


# --- moving aside ------------------------------------------------------------------------------


def test_move_aside_takes_the_first_free_number(tmp_path, monkeypatch):
    run = tmp_path / "run"
    for value in (1.0, 2.0):
        make_run(run, value=value)
        moved = ck.move_aside(run)
        assert moved.name == f"run.old-{value:.0f}"
        assert not run.exists()
        assert float(ck.read_tensors(moved, *_weights(moved))["encoder.w"][0, 0]) == value
    monkeypatch.chdir(tmp_path)
    make_run(run)
    relative = ck.move_aside(type(tmp_path)("run"))
    assert str(relative) == "run.old-3"
    assert relative.is_dir()
    with ck.lock(run):
        pass  # a new run can begin at once


def test_move_aside_from_inside_is_refused(tmp_path, monkeypatch):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for place in ("run", "run/checkpoints"):
        monkeypatch.chdir(tmp_path / place)
        with refused(ExitCode.USAGE, "cannot be moved aside: it is, or holds, the current folder"):
            ck.move_aside(tmp_path / "run")
        with refused(ExitCode.USAGE):
            ck.move_aside(type(tmp_path)("."))


# --- metrics -----------------------------------------------------------------------------------


def test_metrics_are_truncated(tmp_path):
    for update in (50, 100, 150):
        ck.append_metrics(tmp_path, {"update": update, "loss": 2.5})
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    assert whole.splitlines()[0] == b'{"update": 50, "loss": 2.5}'
    ck.truncate_metrics(tmp_path, 150)
    assert path.read_bytes() == whole
    ck.truncate_metrics(tmp_path, 149)
    assert path.read_bytes() == whole[: whole.index(b'{"update": 150')]
    ck.truncate_metrics(tmp_path, 0)
    assert path.read_bytes() == b""
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


@pytest.mark.parametrize("tail", [b'{"update": 10', b'{"update"', b"\0" * 9, b"\xff\n", b"[1]\n3\n", b"[" * 99_999])
def test_metrics_with_a_partial_last_line(tmp_path, tail):
    ck.truncate_metrics(tmp_path, 9)  # no file yet
    ck.append_metrics(tmp_path, {"update": 5})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(tail)
    ck.truncate_metrics(tmp_path, 9)
    ck.append_metrics(tmp_path, {"update": 6})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"update": 5}\n{"update": 6}\n'


def test_a_crash_while_metrics_are_truncated(fresh, monkeypatch):
    def prepare(folder):
        for update in (5, 6):
            ck.append_metrics(folder, {"update": update})

    for at in count(1):
        folder = fresh(prepare)
        with monkeypatch.context() as patch:
            disk = Disk(patch, at)
            with suppress(CrashError):
                ck.truncate_metrics(folder, 5)
        assert (folder / "metrics.jsonl").read_bytes() in (b'{"update": 5}\n{"update": 6}\n', b'{"update": 5}\n')
        if disk.calls < at:
            break
    assert at > 3
    assert (folder / "metrics.jsonl").read_bytes() == b'{"update": 5}\n'
