"""Engines: what turns sources into hypotheses. Our own search is one; CTranslate2's is another."""

from seq2seq.translation.engines.base import Engine
from seq2seq.translation.engines.own import OwnEngine
from seq2seq.translation.engines.table import ENGINES, check_engine

__all__ = ["ENGINES", "Engine", "OwnEngine", "check_engine"]
