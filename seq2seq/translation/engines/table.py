"""The table of engines."""

from collections.abc import Callable

from seq2seq.config import choose_among
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import Seq2SeqModel
from seq2seq.translation.engines.base import Engine, OpenedRun
from seq2seq.translation.engines.ctranslate2 import open_ctranslate2
from seq2seq.translation.engines.own import open_own

ENGINES: dict[str, Callable[[OpenedRun], tuple[Seq2SeqModel, Engine]]] = {
    "own": open_own,
    "ctranslate2": open_ctranslate2,
}
"""By name: how an engine is opened. Each returns the model, which reads attention and given translations, and the
engine, which searches."""


def check_engine(name: str) -> None:
    """Refuse an unknown engine.

    Raises:
        UserError: it is not a row of ``ENGINES`` (2).
    """
    if name not in ENGINES:
        raise UserError(f"unknown engine {name}", mend=choose_among(name, list(ENGINES)), code=ExitCode.USAGE)
