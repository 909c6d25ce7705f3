"""Turn parallel text into a translator you can pipe text through, with a score you can cite.

>>> from seq2seq import Translator
>>> translator = Translator.load("runs/de-en")
>>> translator.translate(["Guten Morgen!"])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2seq.translation import Translator

__all__ = ["Translator"]


def __getattr__(name: str) -> Any:
    # torch takes a second to import, and `seq2seq --help` comes through here too.
    if name == "Translator":
        from seq2seq.translation import Translator

        return Translator
    if name == "__version__":
        from seq2seq.version import VERSION

        return VERSION
    raise AttributeError(f"module 'seq2seq' has no attribute '{name}'")
