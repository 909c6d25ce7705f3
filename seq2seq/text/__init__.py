"""Text files: bytes to lines and back, in UTF-8, plain or compressed, also from hostile input.

A line ends at ``"\\n"`` and nowhere else; one ``"\\r"`` before it is removed. NUL, any other ``"\\r"``, ``"\\v"``,
``"\\f"``, U+0085, U+2028 and U+2029 are text inside a line. So files are read as bytes: Python's text files and
``str.splitlines`` would split lines at some of these characters.
"""

from seq2seq.text.compression import COMPRESSED_SUFFIXES
from seq2seq.text.encodings import EncodingErrors
from seq2seq.text.first_bytes import shell_word
from seq2seq.text.output import LineWriter, open_line_output, open_output
from seq2seq.text.overwriting import refuse_overwriting
from seq2seq.text.paths import exists, is_folder, walk_folder
from seq2seq.text.reading import LineReader, TextCounts, is_blank, one_line, read_lines
from seq2seq.text.source import ByteSource, open_input

__all__ = [
    "COMPRESSED_SUFFIXES",
    "ByteSource",
    "EncodingErrors",
    "LineReader",
    "LineWriter",
    "TextCounts",
    "exists",
    "is_blank",
    "is_folder",
    "one_line",
    "open_input",
    "open_line_output",
    "open_output",
    "read_lines",
    "refuse_overwriting",
    "shell_word",
    "walk_folder",
]
