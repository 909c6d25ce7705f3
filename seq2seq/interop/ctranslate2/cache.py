"""A cache of converted models, so that CTranslate2 can translate with a run without an export.

A model is converted once, in fp32: CTranslate2 quantizes it when it loads it. The converted model is in the run folder,
or, if that cannot be written, in the user's cache folder. The name of its folder begins with the hash of the weights. A
file in it holds the hash of every other file; these are checked before CTranslate2 reads any of them.
"""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from seq2seq.errors import ExitCode, UserError
from seq2seq.interop.ctranslate2.folder import convert
from seq2seq.model import Seq2SeqModel
from seq2seq.runs import Manifest
from seq2seq.system.files import atomic_folder, writing
from seq2seq.tokenizer import Tokenizer
from seq2seq.version import VERSION

FOLDER = "ctranslate2"
"""In a run folder."""
_HASHES = "hashes.json"


def converted(
    run: Path, manifest: Manifest, tokenizer: Tokenizer, n_positions: int | None, model: Seq2SeqModel
) -> Path:
    """The folder of a run's model in CTranslate2's format. The model is converted if it is not in the cache.

    Args:
        run: its folder.
        manifest: its own.
        tokenizer: its own.
        n_positions: from ``position_rows``.
        model: a model that ``check_supported`` accepts, on the CPU.

    Raises:
        UserError: neither the run folder nor the user's cache folder can be written (74).
    """
    name = _name(manifest, n_positions)
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "seq2seq"
    places = [root / FOLDER / name for root in (run, user)]
    if found := next((place for place in places if _is_whole(place)), None):
        return found
    spec = convert(model, tokenizer, n_positions, "float32")
    for place in places:
        try:
            with writing(place):
                _save(spec, place)
        except UserError:
            if place == places[-1]:
                raise UserError(
                    f"the converted model cannot be written to {places[0].parent} or {places[1].parent}",
                    mend="make one of them writable, or let XDG_CACHE_HOME name another folder",
                    code=ExitCode.CANNOT_WRITE,
                ) from None
        else:
            break
    return place


def _name(manifest: Manifest, n_positions: int | None) -> str:
    """The name of a converted model's folder, which depends on all that the conversion depends on."""
    import ctranslate2

    weights, tokenizer, config = (manifest.files[n] for n in (manifest.weights, "tokenizer.model", manifest.config))
    others = json.dumps([tokenizer, config, n_positions, VERSION, ctranslate2.__version__])
    return f"{weights[:16]}-{hashlib.sha256(others.encode()).hexdigest()[:8]}"


def _is_whole(folder: Path) -> bool:
    """Whether a folder holds a converted model whose files have the hashes they had when they were written."""
    with suppress(OSError, ValueError):
        hashes = json.loads((folder / _HASHES).read_text(encoding="utf-8"))
        return bool(hashes) and hashes == _hashes(folder)
    return False


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != _HASHES:
            with open(path, "rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _save(spec: object, place: Path) -> None:
    if place.exists():  # damaged
        shutil.rmtree(place)
    try:
        with atomic_folder(place) as new:
            spec.save(str(new))  # type: ignore[attr-defined]  # CTranslate2 has no types
            (new / _HASHES).write_text(json.dumps(_hashes(new)), encoding="utf-8")
    except OSError:
        if not _is_whole(place):  # another process may have been faster
            raise
