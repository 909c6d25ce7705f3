"""Data sets of the Hugging Face Hub: ``hf:NAME[@REVISION][#CONFIG][:SPLIT]``. Only this file imports ``datasets``."""

import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.corpus.columns import find_columns
from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.rows import first_translations, is_variable, pair_of
from seq2seq.corpus.words import split_columns
from seq2seq.errors import ExitCode, UserError
from seq2seq.system.files import DISK_FULL, cannot_write
from seq2seq.text import exists, is_folder

_BATCH = 1000
"""Rows that are converted to Python objects at a time."""
_WORD = re.compile(r"(?P<name>[^@#:]+)(@(?P<revision>[^#:]+))?(#(?P<config>[^:]+))?(:(?P<split>.+))?")
_VALIDATION = ("validation", "valid", "val", "dev")
"""Names of validation splits, in order of preference."""


class HubName(NamedTuple):
    """The parts of a CORPUS word that names a data set on the hub or a local folder."""

    name: str
    revision: str | None
    config: str | None
    split: str


def parse_hub_name(corpus: str) -> HubName:
    """Parse ``hf:NAME[@REVISION][#CONFIG][:SPLIT]``; the split is ``train`` if none is named.

    A folder's name may contain ``@``, ``#`` and ``:``. So NAME is the longest beginning of the word that names an
    existing folder.

    Raises:
        UserError: the word does not have this form, or gives a local folder a revision (exit code 2).
    """
    word = corpus.removeprefix("hf:")
    ends = [len(word), *(i for i in range(len(word) - 1, 0, -1) if word[i] in "@#:")]
    folder = next((word[:end] for end in ends if is_folder(word[:end])), "")
    # "x" replaces the folder, whose name may contain @, # and :.
    match = _WORD.fullmatch("x" + word[len(folder) :] if folder else word)
    if match is None:
        raise UserError(
            f"{corpus} does not name a data set",
            mend="write hf:NAME[@REVISION][#CONFIG][:SPLIT]",
            code=ExitCode.USAGE,
        )
    if folder and match["revision"]:
        raise UserError(
            f"{corpus}: the local folder {folder} has no revisions", mend="leave out @…", code=ExitCode.USAGE
        )
    return HubName(folder or match["name"], match["revision"], match["config"], match["split"] or "train")


def local_folder(corpus: str) -> Path | None:
    """The folder of a data set; None if it is on the hub, or the word does not begin with ``hf:``."""
    if not corpus.startswith("hf:"):
        return None
    name = parse_hub_name(split_columns(corpus).path).name
    return Path(name) if is_folder(name) else None


def local_files(corpus: str) -> list[Path]:
    """The files of a data set in a local folder; empty if it is on the hub. Raises the errors of ``read_hub``."""
    word, _ = split_columns(corpus)
    if local_folder(word) is None:
        return []
    files = _builder(word, parse_hub_name(word), {}).config.data_files or {}
    return [Path(path) for paths in files.values() for path in paths]


def read_hub(corpus: str, langs: tuple[str, str], counts: CorpusCounts) -> Iterator[Pair]:
    """Read the pairs of a data set.

    ``datasets`` keeps a copy in its cache on disk, and maps it into memory. Its own messages are turned off.

    Raises:
        UserError: unknown split, configuration, language or column, or data that cannot be read or is not UTF-8 (65);
            the data set is not found, or there is no network (66); no space for the copy (74).
    """
    word, columns = split_columns(corpus)
    wanted = parse_hub_name(word)
    dataset = _load(word, wanted, columns or langs)
    nested, keys = find_keys(word, dataset.features, columns, langs, counts)
    read = (nested,) if nested else keys
    if any(str(getattr(dataset.features[key], "dtype", "string")) not in _TEXT for key in read) and nested is None:
        dataset = _load(word, wanted, keys)  # CSV whose columns are not named by the languages
    number = 0
    try:
        for batch in dataset.select_columns(list(read)).iter(_BATCH):
            for values in zip(*(batch[key] for key in read), strict=True):
                number += 1
                row = dict(zip(read, values, strict=True))
                yield pair_of_row(row, nested, keys, langs, f"{word}, row {number}")
    except UnicodeDecodeError:  # only the conversion to a Python string checks it
        raise not_utf8(word) from None


def pair_of_row(
    row: dict[str, Any], nested: str | None, keys: tuple[str, str], langs: tuple[str, str], where: str
) -> Pair:
    """The pair of a row, whose columns are those that ``find_keys`` found. Raises the errors of ``pair_of``."""
    if nested is not None:
        row = row[nested] or dict.fromkeys(langs)
        row = first_translations(row, langs) if is_variable(row) else row
    return pair_of(row, keys, where)


def not_utf8(word: str) -> UserError:
    """The error for a data set with bytes that are not UTF-8."""
    return UserError(
        f"{word} holds text that is not UTF-8",
        mend="convert its files to UTF-8, or name a .jsonl file itself as CORPUS: its bytes can be replaced",
    )


_TEXT = ("string", "large_string")


def find_keys(
    corpus: str, features: Any, columns: tuple[str, str] | None, langs: tuple[str, str], counts: CorpusCounts
) -> tuple[str | None, tuple[str, str]]:
    """The column that holds all languages, if there is one, and the keys of source and target.

    Args:
        corpus: named in errors.
        features: of ``datasets``, or a row, by column.
        columns: chosen by the user.
        langs: source and target language.
        counts: may get a note.

    Raises:
        UserError: there are no such columns (65).
    """
    names = list(features)
    if columns is not None:
        by_number = {str(i): name for i, name in enumerate(names, start=1)}
        columns = (by_number.get(columns[0], columns[0]), by_number.get(columns[1], columns[1]))
        if missing := [column for column in columns if column not in names]:
            raise UserError(
                f"{corpus} has no column {' and no column '.join(missing)}; it has {', '.join(names)}",
                mend="name two of them, source then target",
            )
        return None, columns
    # Columns that hold several languages. Their list is empty if each row has its own languages.
    nested = {name: languages for name in names if (languages := _languages(features[name])) is not None}
    fitting = [name for name, languages in nested.items() if not languages or set(langs) <= set(languages)]
    if "translation" in fitting:
        return "translation", langs
    if set(langs) <= set(names):
        return None, langs
    if len(fitting) == 1:
        return fitting[0], langs
    if (found := find_columns(names, langs)) is not None:
        keys = names[found[0]], names[found[1]]
        counts.notes.append(f"{keys[0]} is read as {langs[0]}, {keys[1]} as {langs[1]}")
        return None, keys
    available = next(iter(nested.values())) if len(nested) == 1 else names
    missing = [lang for lang in langs if lang not in available]
    raise UserError(
        f"{corpus} has no {' and no '.join(missing)}; it has {', '.join(available)}",
        mend="name two of them with `data.langs` or as 'hf:NAME[COLUMN,COLUMN]', or another configuration with #CONFIG",
    )


def _languages(feature: Any) -> list[str] | None:
    """The languages of a column that holds several; empty if each row has its own. None for other columns."""
    if isinstance(feature, dict):
        return [] if feature.keys() == {"language", "translation"} else list(feature)
    if type(feature).__name__ in ("Translation", "TranslationVariableLanguages"):
        return list(feature.languages or ())
    return None


def own_validation(corpus: str) -> str | None:
    """The CORPUS word of a data set's own validation split; None if it has none, or the word names another split.

    It reads only the names of splits, no data.

    Raises:
        UserError: as ``read_hub``.
    """
    word, columns = split_columns(corpus)
    wanted = parse_hub_name(word)
    if wanted.split != "train":
        return None
    builder = _builder(word, wanted, {})
    splits = [str(name) for name in builder.config.data_files or builder.info.splits or ()]
    split = next((name for name in _VALIDATION if name in splits), None)
    if split is None:
        return None
    without_split = word.removesuffix(":train") if not is_folder(word.removeprefix("hf:")) else word
    return f"{without_split}:{split}" + (f"[{columns[0]},{columns[1]}]" if columns else "")


def _builder(corpus: str, wanted: HubName, options: dict[str, Any]) -> Any:
    """The builder of a data set, which has read no data yet."""
    import datasets  # takes a second; only this reader needs it
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
    from huggingface_hub.utils.tqdm import disable_progress_bars  # datasets downloads with it

    name, is_local = wanted.name, is_folder(wanted.name)
    if not is_local and name.startswith((".", "/", "~")):
        raise UserError(f"{name} is not a folder", mend="name an existing folder", code=ExitCode.NO_INPUT)
    if not is_local and name in _PACKAGED_DATASETS_MODULES:
        raise UserError(
            f"{corpus} does not name a data set: {name} is a file format of datasets, and no folder has that name",
            mend="name the folder that holds the files, or a data set on the hub as hf:OWNER/NAME",
            code=ExitCode.NO_INPUT,
        )
    if any(exists(Path(name) / file) for file in ("state.json", "dataset_dict.json")):
        raise UserError(
            f"{corpus} was saved by save_to_disk of datasets, a format that is not read",
            mend="write it with to_parquet or to_json into a folder of its own, and name that",
        )
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    datasets.utils.logging.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    disable_progress_bars()
    try:
        # A relative name could be that of a file format, which would read all files below the current folder.
        return datasets.load_dataset_builder(
            str(Path(name).resolve()) if is_local else name, wanted.config, revision=wanted.revision, **options
        )
    # The library raises many kinds of errors: those of the network, of file formats, and its own.
    except Exception as error:
        raise as_user_error(corpus, error) from None


def _load(corpus: str, wanted: HubName, text_columns: tuple[str, str]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        builder = builder_of_text(corpus, wanted, text_columns)
        try:
            builder.download_and_prepare()
            return builder.as_dataset(split=wanted.split)
        except Exception as error:  # as above
            raise as_user_error(corpus, error) from None


def builder_of_text(corpus: str, wanted: HubName, text_columns: tuple[str, str]) -> Any:
    """The builder of a data set, which has read no data yet; it reads these columns of a CSV file as text.

    Raises:
        UserError: as ``read_hub``.
    """
    builder = _builder(corpus, wanted, {})
    if hasattr(builder.config, "keep_default_na"):  # CSV: pandas would read "NA" and "null" as missing values
        as_text = {"keep_default_na": False, "converters": dict.fromkeys(text_columns, str)}
        builder = _builder(corpus, wanted, as_text)
    return builder


def as_user_error(corpus: str, error: Exception) -> UserError:
    """The error of ``datasets`` as one of ours."""
    # DatasetGenerationError says only that something went wrong; its cause says what.
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError) and (cause.errno in DISK_FULL or "Not enough disk space" in str(cause)):
        return cannot_write(f"the copy of {corpus} in the cache of datasets", cause)
    if isinstance(error, FileNotFoundError):
        cause, code = error, ExitCode.NO_INPUT
        mend = "check the name; a private or gated data set needs `hf auth login`"
    elif isinstance(error, OSError):
        cause, code = error, ExitCode.NO_INPUT
        mend = "download it on a computer with a network, or name a local folder as hf:FOLDER"
    else:
        # The message of datasets names the available splits or configurations, or the damaged file.
        code, mend = ExitCode.BAD_DATA, "see its page or folder, and choose as hf:NAME[@REVISION][#CONFIG][:SPLIT]"
    # The rest of a long message shows how to call datasets in Python.
    message = " ".join(str(cause).partition("Example of usage")[0].split()).rstrip(".") or type(cause).__name__
    if isinstance(cause, StopIteration) or "BatchSize must be greater than 0" in message:
        message = "one of its files is empty"
    return UserError(f"{corpus} cannot be loaded: {message}", mend=mend, code=code)
