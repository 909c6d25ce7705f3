"""Export to CTranslate2: a folder that ``ctranslate2.Translator`` loads, also with quantized weights.

``weights.py`` maps our weights to theirs, ``readme.py`` writes how to use the folder, ``folder.py`` writes the folder.
"""

from seq2seq.interop.ctranslate2.folder import QUANTIZATIONS, ExportResult, export_run

__all__ = ["QUANTIZATIONS", "ExportResult", "export_run"]
