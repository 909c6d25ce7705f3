"""To CTranslate2: a trained model as a folder that ``ctranslate2.Translator`` loads, in int8 where wanted.

``weights`` says how our weights map to theirs, ``readme`` how the folder is used, ``folder`` writes it.
"""

from seq2seq.interop.ctranslate2.folder import QUANTIZATIONS, Exported, export_run

__all__ = ["QUANTIZATIONS", "Exported", "export_run"]
