"""``hf:NAME[@REVISION][#CONFIG][:SPLIT]``: names, local folders in the hub's layout, and no network."""

import time

import datasets
import pytest
from corpora import LANGS, cut_off, flat, json_lines, nested, refusal_of, write
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

from seq2seq.corpus import read_pairs
from seq2seq.corpus.hub import HubName, parse_hub_name
from seq2seq.errors import ExitCode, UserError


@pytest.fixture(autouse=True)
def network(tmp_path_factory, monkeypatch):
    """The hosts that were asked for."""
    return cut_off(monkeypatch, tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("hf:a/b", ("a/b", None, None, "train")),
        ("hf:b:validation", ("b", None, None, "validation")),
        ("hf:a/b#de-en", ("a/b", None, "de-en", "train")),
        ("hf:a/b@v1", ("a/b", "v1", None, "train")),
        ("hf:a/b@refs/convert/parquet#de-en:test", ("a/b", "refs/convert/parquet", "de-en", "test")),
        ("hf:a/b:train[:1%]", ("a/b", None, None, "train[:1%]")),
    ],
)
def test_names_on_the_hub(word, name):
    assert parse_hub_name(word) == HubName(*name)


@pytest.mark.parametrize("word", ["hf:", "hf:#c", "hf:@r", "hf::s", "hf:a@", "hf:a#", "hf:a:", "hf:a#c#d:"])
def test_what_names_no_data_set(word):
    with pytest.raises(UserError, match="write hf:NAME") as caught:
        parse_hub_name(word)
    assert caught.value.code == ExitCode.USAGE


def test_the_name_of_a_folder_may_hold_the_marks(tmp_path):
    folder = tmp_path / "a@b#c:d"
    folder.mkdir()
    write(folder, "hf", [("a", "b")])
    assert list(read_pairs(f"hf:{folder}:train", LANGS)) == [("a", "b")]
    assert parse_hub_name(f"hf:{folder}#x:y") == HubName(str(folder), None, "x", "y")
    assert "has no revisions" in refusal_of(f"hf:{folder}@v1", code=ExitCode.USAGE)


@pytest.fixture
def hub_folder(tmp_path):
    """A local folder in the hub's layout: two configurations, of which the first has two splits."""
    for name, form in (("one/train", flat), ("one/test", flat), ("two/train", nested)):
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json_lines(form)([(name, "x")]))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: one\n  data_files:\n"
        "  - {split: train, path: one/train.jsonl}\n  - {split: test, path: one/test.jsonl}\n"
        "- config_name: two\n  data_files: two/*.jsonl\n---\n"
    )
    return f"hf:{tmp_path}"


@pytest.mark.parametrize(
    ("part", "names"),
    [("#one", ["one/train"]), ("#one:test", ["one/test"]), ("#two:train", ["two/train"]),
     ("#one:test+train", ["one/test", "one/train"])],
)  # fmt: skip
def test_configuration_and_split(hub_folder, network, capfd, part, names):
    assert list(read_pairs(hub_folder + part, LANGS)) == [(name, "x") for name in names]
    assert network == []
    assert capfd.readouterr() == ("", ""), "stdout carries data alone"


@pytest.mark.parametrize(
    ("part", "langs", "says"),
    [
        ("#one:valid", LANGS, "['train', 'test']"),
        ("#three", LANGS, "'three' not found. Available: ['one', 'two']"),
        ("", LANGS, "['one', 'two']"),
        ("#one", ("de", "fr"), "has no fr, but de, en; name two of them with -l"),
        ("#two", ("cs", "fr"), "has no cs and no fr, but de, en"),
    ],
)
def test_parts_that_are_not_there(hub_folder, part, langs, says):
    said = refusal_of(hub_folder + part, langs)
    assert said.startswith(hub_folder + part)
    assert says in said


@pytest.mark.parametrize("word", ["hf:./no", "hf:/no", "hf:~/no", "hf:../no:train"])
def test_a_folder_that_is_not_there(network, word):
    assert f"{word.split(':')[1]} is not a folder; name an existing" in refusal_of(word, code=ExitCode.NO_INPUT)
    assert network == []


def test_text_that_is_missing_in_a_row(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"de": "a", "en": "b"}\n{"de": "c", "en": null}\n')
    assert f"hf:{tmp_path}, row 2: en is null, not a string" in refusal_of(f"hf:{tmp_path}")


def test_damage_in_a_data_set(tmp_path):
    corpus = write(tmp_path, "hf, parquet", [("Ja.", "Yes.")])
    path = tmp_path / "train.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert "cannot be loaded" in refusal_of(corpus)
    path.unlink()
    (tmp_path / "train.jsonl").write_text('{"de": "a", "en": "b"}\n{"de": "a"\n')
    assert "JSON parse error" in refusal_of(corpus)
    (tmp_path / "train.jsonl").unlink()
    assert "doesn't contain any data files" in refusal_of(corpus, code=ExitCode.NO_INPUT)


def test_a_data_set_runs_no_code(tmp_path):
    folder = tmp_path / "script"
    folder.mkdir()
    (folder / "script.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "scripts are no longer supported" in refusal_of(f"hf:{folder}")
    assert not (tmp_path / "ran").exists()


def test_what_datasets_is_asked_for(monkeypatch):
    asked = {}

    def load_dataset(path, name, **options):
        asked.update(options, path=path, name=name, silent=are_progress_bars_disabled())
        return datasets.Dataset.from_list([{"de": "a", "en": "b", "other": 1}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    enable_progress_bars()
    assert list(read_pairs("hf:a/b@v1#c:test", LANGS)) == [("a", "b")]
    expected = {"path": "a/b", "name": "c", "split": "test", "revision": "v1", "streaming": False, "silent": True}
    assert asked == expected


def test_without_a_network(network, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the hub's client tries again, for 23 seconds
    said = refusal_of("hf:nobody/nothing", code=ExitCode.NO_INPUT)
    assert said.startswith("hf:nobody/nothing cannot be loaded: Couldn't reach")
    assert said.endswith("download it where there is a network, or name a local folder as hf:FOLDER")
    assert any("huggingface.co" in address for address in network)


def test_a_cache_that_is_full(tmp_path, small_files):
    corpus = write(tmp_path, "hf, parquet", [(f"{i:020}", "x") for i in range(2000)])
    with small_files(10_000):
        assert f"the copy of {corpus} in the cache of datasets cannot be written" in refusal_of(
            corpus, code=ExitCode.CANNOT_WRITE
        )
    assert sum(1 for _ in read_pairs(corpus, LANGS)) == 2000, "half a copy is not taken for a whole one"
