"""Export to CTranslate2: a folder that ``ctranslate2.Translator`` loads, also with quantized weights.

``weights.py`` maps our weights to CTranslate2's, ``readme.py`` explains how to use the folder, and ``folder.py`` writes
it. ``cache.py`` keeps a converted model for translating with the run itself.
"""

from seq2seq.interop.ctranslate2.cache import converted
from seq2seq.interop.ctranslate2.folder import (
    QUANTIZATIONS,
    ExportResult,
    export_run,
    position_rows,
    require_ctranslate2,
)
from seq2seq.interop.ctranslate2.weights import check_supported

__all__ = [
    "QUANTIZATIONS",
    "ExportResult",
    "check_supported",
    "converted",
    "export_run",
    "position_rows",
    "require_ctranslate2",
]
