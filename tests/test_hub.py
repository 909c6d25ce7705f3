"""``hf:NAME[@REVISION][#CONFIG][:SPLIT]``: names, local folders in the hub's layout, and no network."""

import time

import datasets
import pytest
from corpora import LANGS, cut_off, flat, json_lines, nested, refusal_of, write
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

from seq2seq.corpus import CorpusCounts, corpus_files, own_validation, read_pairs
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
def test_hub_names_are_parsed(word, name):
    assert parse_hub_name(word) == HubName(*name)


@pytest.mark.parametrize("word", ["hf:", "hf:#c", "hf:@r", "hf::s", "hf:a@", "hf:a#", "hf:a:", "hf:a#c#d:"])
def test_invalid_hub_names(word):
    with pytest.raises(UserError, match="write hf:NAME") as caught:
        parse_hub_name(word)
    assert caught.value.code == ExitCode.USAGE


def test_a_folder_name_may_contain_separators(tmp_path):
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
        ("#one", ("de", "fr"), "has no fr; it has de, en; name two of them with `data.langs`"),
        ("#two", ("cs", "fr"), "has no cs and no fr; it has de, en"),
    ],
)
def test_a_missing_configuration_or_split(hub_folder, part, langs, says):
    message = refusal_of(hub_folder + part, langs)
    assert message.startswith(hub_folder + part)
    assert says in message


@pytest.mark.parametrize("word", ["hf:./no", "hf:/no", "hf:~/no", "hf:../no:train"])
def test_a_missing_folder(network, word):
    assert f"{word.split(':')[1]} is not a folder; name an existing" in refusal_of(word, code=ExitCode.NO_INPUT)
    assert network == []


A_ROW = '{"de": "a", "en": "b"}\n'


@pytest.mark.parametrize(
    ("name", "content", "pairs"),
    [
        ("a.jsonl", A_ROW + '{"de": "c", "en": null}\n', [("a", "b"), ("c", "")]),
        ("a.jsonl", '{"translation": {"de": "a", "en": "b"}}\n{"translation": null}\n', [("a", "b"), ("", "")]),
        ("a.jsonl", '{"translations": {"de": "a", "en": "b"}, "id": 1}\n', [("a", "b")]),
        ("a.jsonl", '{"de": 1, "en": -2}\n', [("1", "-2")]),
        ("a.csv", "de,en\nNA,null\nNaN,\n,None\n", [("NA", "null"), ("NaN", ""), ("", "None")]),
        ("a.csv", "en,de,id\n007,1.10,3\n1e5,,4\n", [("1.10", "007"), ("", "1e5")]),
        ("a.csv", "English,German\n007,1.10\n08,NA\n", [("1.10", "007"), ("NA", "08")]),
        ("a.csv", "English,German\n,a\nb,\n", [("a", ""), ("", "b")]),
        ("a.tsv", "de\ten\nNA\tb\n", [("NA", "b")]),
    ],
)
def test_cells_that_are_empty_or_numbers(tmp_path, name, content, pairs):
    """Users cannot edit a data set. So cells without text are blank, and text that pandas reads as missing is text."""
    (tmp_path / name).write_text(content)
    counts = CorpusCounts()
    assert list(read_pairs(f"hf:{tmp_path}", LANGS, counts=counts)) == pairs
    assert counts.blank == sum("" in pair for pair in pairs)


@pytest.mark.parametrize(
    ("rows", "feature", "langs", "pairs"),
    [
        ([[("de", "a"), ("en", "b")], [("en", "b"), ("fr", "x")], [("de", "a"), ("de", "c"), ("en", "d")], []],
         datasets.TranslationVariableLanguages(["de", "en", "fr"]), LANGS,
         [("a", "b"), ("", "b"), ("a", "d"), ("", "")]),
        ([[("de", "a"), ("en", "b")]], None, LANGS, [("a", "b")]),
        ([[("de", "a"), ("en", "b")]], datasets.TranslationVariableLanguages(["de", "en"]), ("de", "fr"), None),
    ],
    ids=["languages", "without its feature", "not there"],
)  # fmt: skip
@pytest.mark.parametrize("column", ["translation", "translations"])
def test_rows_of_varying_languages(tmp_path, rows, feature, langs, pairs, column):
    dicts = [{"language": [lang for lang, _ in row], "translation": [text for _, text in row]} for row in rows]
    features = datasets.Features({column: feature}) if feature else None
    data = datasets.Dataset.from_list([{column: row} for row in dicts], features=features)
    data.to_parquet(tmp_path / "train.parquet")
    if pairs is None:
        assert "has no fr; it has de, en" in refusal_of(f"hf:{tmp_path}", langs)
    else:
        assert list(read_pairs(f"hf:{tmp_path}", langs)) == pairs


@pytest.mark.parametrize(
    ("brackets", "langs", "says"),
    [
        ("[Twi (Akan),English]", LANGS, []), (":train[Twi (Akan),English]", LANGS, []),
        (":train[:100%][Twi (Akan),English]", LANGS, []),
        ("", ("twi", "eng"), ["Twi (Akan) is read as twi, English as eng"]),
    ],
)  # fmt: skip
def test_columns_with_other_names(tmp_path, brackets, langs, says):
    (tmp_path / "train.jsonl").write_text('{"English": "b", "Twi (Akan)": "a"}\n')
    counts = CorpusCounts()
    assert list(read_pairs(f"hf:{tmp_path}{brackets}", langs, counts=counts)) == [("a", "b")]
    assert counts.notes == says
    message = refusal_of(f"hf:{tmp_path}", LANGS)
    assert (
        "has no de and no en; it has English, Twi (Akan); name two of them with `data.langs` or as 'hf:NAME[" in message
    )
    assert "has no column x; it has English, Twi" in refusal_of(f"hf:{tmp_path}[x,English]")
    assert "has no column 3; it has English, Twi" in refusal_of(f"hf:{tmp_path}[3,English]")
    assert list(read_pairs(f"hf:{tmp_path}[2,1]", langs)) == [("a", "b")]


def test_only_data_files_are_read(tmp_path):
    """Other files in its folder, such as a card or the output of this program, may be written."""
    for name in ("train.jsonl", "README.md", "hypotheses.txt", "scores"):
        (tmp_path / name).write_text(A_ROW)
    assert corpus_files(f"hf:{tmp_path}", LANGS) == [tmp_path / "train.jsonl"]


@pytest.mark.parametrize("name", ["csv", "json", "text", "parquet", "arrow", "xml"])
def test_a_folder_named_as_a_format(tmp_path, monkeypatch, network, name):
    """``datasets`` would read every file under the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.jsonl").write_text('{"de": "old", "en": "old"}\n')
    message = refusal_of(f"hf:{name}", code=ExitCode.NO_INPUT)
    assert message.startswith(f"hf:{name} does not name a data set: {name} is a file format of datasets, and no folder")
    (tmp_path / name).mkdir()
    (tmp_path / name / "train.jsonl").write_text(A_ROW)
    for word in (f"hf:{name}", f"hf:./{name}", f"hf:{name}:train", f"hf:{name}/", f"hf:{name}/../{name}"):
        assert list(read_pairs(word, LANGS)) == [("a", "b")]
    monkeypatch.chdir(tmp_path / name)
    assert list(read_pairs("hf:.", LANGS)) == [("a", "b")]
    assert network == []


def test_a_folder_of_save_to_disk(tmp_path):
    data = datasets.Dataset.from_list([{"de": "a", "en": "b"}])
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "two")
    for name in ("one", "two"):
        assert "was saved by save_to_disk of datasets" in refusal_of(f"hf:{tmp_path}/{name}")


@pytest.mark.parametrize(
    ("names", "word", "expected"),
    [
        (["train", "validation", "test"], "", ":validation"), (["train", "validation"], ":train", ":validation"),
        (["train", "dev", "test"], "", ":validation"), (["train", "valid"], "[a,b]", ":validation[a,b]"),
        (["train", "test"], "", None), (["train"], "", None), (["train", "validation"], ":train[:50%]", None),
        (["train", "validation"], ":train+validation", None), (["train", "validation"], ":validation", None),
    ],
)  # fmt: skip
def test_a_validation_split_of_its_own(tmp_path, names, word, expected):
    for name in names:
        (tmp_path / f"{name}.jsonl").write_text(A_ROW)
    found = own_validation(f"hf:{tmp_path}{word}")
    assert found == (expected and f"hf:{tmp_path}{expected}")


def test_the_validation_split_of_a_configuration(hub_folder, tmp_path):
    (tmp_path / "two" / "val.jsonl").write_text(A_ROW)
    readme = (tmp_path / "README.md").read_text()
    splits = "\n  - {split: train, path: two/train.jsonl}\n  - {split: val, path: two/val.jsonl}"
    (tmp_path / "README.md").write_text(readme.replace(" two/*.jsonl", splits))
    assert own_validation(f"{hub_folder}#one") is None
    assert own_validation(f"{hub_folder}#two") == f"{hub_folder}#two:val"


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


def test_the_arguments_of_datasets(monkeypatch):
    arguments = {}

    class Builder:
        config = datasets.BuilderConfig()

        def download_and_prepare(self):
            arguments["prepared"] = True

        def as_dataset(self, split):
            arguments["split"] = split
            return datasets.Dataset.from_list([{"de": "a", "en": "b", "other": 1}])

    def load_dataset_builder(path, name, **options):
        arguments.update(options, path=path, name=name, silent=are_progress_bars_disabled())
        return Builder()

    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    enable_progress_bars()
    assert list(read_pairs("hf:a/b@v1#c:test", LANGS)) == [("a", "b")]
    expected = {"path": "a/b", "name": "c", "split": "test", "revision": "v1", "prepared": True, "silent": True}
    assert arguments == expected


def test_without_a_network(network, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the hub's client tries again, for 23 seconds
    message = refusal_of("hf:nobody/nothing", code=ExitCode.NO_INPUT)
    assert message.startswith("hf:nobody/nothing cannot be loaded: Couldn't reach")
    assert message.endswith("download it on a computer with a network, or name a local folder as hf:FOLDER")
    assert any("huggingface.co" in address for address in network)


def test_a_full_cache(tmp_path, small_files):
    corpus = write(tmp_path, "hf, parquet", [(f"{i:020}", "x") for i in range(2000)])
    with small_files(10_000):
        assert f"the copy of {corpus} in the cache of datasets cannot be written" in refusal_of(
            corpus, code=ExitCode.CANNOT_WRITE
        )
    assert sum(1 for _ in read_pairs(corpus, LANGS)) == 2000, "half a copy is not taken for a whole one"
