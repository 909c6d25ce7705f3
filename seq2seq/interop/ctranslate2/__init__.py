"""Export to CTranslate2: a folder that ``ctranslate2.Translator`` loads, also with quantized weights.

``weights.py`` maps our weights to CTranslate2's, ``readme.py`` explains how to use the folder, and ``folder.py`` writes
it.
"""

from seq2seq.interop.ctranslate2.folder import QUANTIZATIONS, ExportResult, export_run

__all__ = ["QUANTIZATIONS", "ExportResult", "export_run"]
