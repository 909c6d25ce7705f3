"""Refusal of input that is certainly not UTF-8 text: UTF-16, UTF-32, and files of other programs.

They are recognized by their first line. So pipes and files are treated alike, and a typed line is translated at once.
Everything else counts as text.
"""

from pathlib import Path
from shlex import quote

from seq2seq.errors import UserError
from seq2seq.text.tuning import MIN_WIDE, N_FIRST

_SEPARATORS = b"\t\v\f\r\x1c\x1d\x1e"

_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""Byte-order marks. Longer ones come first, as a shorter one may be the beginning of a longer one."""

_AS_TEXT = "save it as plain text in UTF-8"
_KINDS = (
    (b"PK\x03\x04", "a ZIP file, as .docx, .xlsx and .odt are", f"unpack it with unzip, or {_AS_TEXT}"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a file of Office, as .doc and .xls are", _AS_TEXT),
    (b"%PDF-", "a PDF", "extract its text: pdftotext {file} {file}.txt"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it: lz4 -d {file}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x {file}"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it: unrar x {file}"),
    (b"SQLite format 3\0", "an SQLite database", "export its table as text in UTF-8"),
    (b"PAR1\x15", "a Parquet file", "name the folder that holds it, as hf:FOLDER"),
    (b"\x89PNG\r", "a picture", "give text"),
    (b"\xff\xd8\xff", "a picture", "give text"),
)
"""The first bytes of a kind of file, what it is, and what to do. No text begins with these bytes."""
_TAR_AT, _TAR = 257, b"ustar"


def refuse_non_text(head: bytes, name: str, *, unpack: str = "") -> None:
    """Refuse input that is certainly not UTF-8 text.

    Args:
        head: the first line, or its beginning.
        name: name of the input, for the error.
        unpack: command that decompresses the file; empty if it is not compressed.

    Raises:
        UserError: it is UTF-16, UTF-32 or a file of another program (65).
    """
    what, mend = _non_text(head[:N_FIRST].partition(b"\n")[0])
    if not what:
        return
    file = name
    if unpack:
        what, mend = f"{what}, compressed", f"decompress it with {unpack}, then {mend}"
        file = str(Path(name).with_suffix(""))
    raise UserError(f"{name} is {what}, not UTF-8 text", mend=mend.format(file=shell_word(file)))


def shell_word(name: str) -> str:
    """The name of an input, quoted for a shell command in a message; FILE for stdin."""
    return "FILE" if name == "stdin" else quote(name)


def iconv(encoding: str) -> str:
    """Advice with the command that converts an input; ``{file}`` stands for its name."""
    return f"convert it: iconv -f {encoding} -t UTF-8 {{file}} > {{file}}.utf8"


def _non_text(line: bytes) -> tuple[str, str]:
    """The kind of file that begins with this line, and how to convert it to text; two empty strings if it is text."""
    for mark, encoding in _MARKS.items():
        if line.startswith(mark):
            return encoding, iconv(encoding)
    for magic, what, mend in _KINDS:
        if line.startswith(magic):
            return what, mend
    if line.startswith(_TAR, _TAR_AT):
        return "a tar archive", "unpack it: tar -xf {file}"
    encoding = _wide(line)
    return (encoding, iconv(encoding)) if encoding else ("", "")


def _wide(line: bytes) -> str:
    """UTF-16 or UTF-32 without a byte-order mark, if nearly every second byte is not text; otherwise empty."""
    if len(line) < MIN_WIDE:
        return ""
    bytes_at = [line[i::4] for i in range(4)]
    for order, (lowest, _, plane, highest) in (("LE", bytes_at), ("BE", bytes_at[::-1])):
        if not any(highest) and max(plane) <= 0x10 and 2 * lowest.count(0) <= len(lowest):
            return f"UTF-32{order}"
    for order, low, high in (("LE", line[::2], line[1::2]), ("BE", line[1::2], line[::2])):
        # The high byte of a character names its script: 0 for Latin and for spaces, 4 for Cyrillic, 9 for Devanagari.
        # In text of single bytes these values are control characters; only separators of words and lines are frequent
        # among them. High bytes above 1F are quotation marks, dashes, and Chinese.
        names_script = sum(byte < 0x20 for byte in high)
        no_text = sum(byte < 0x20 and byte not in _SEPARATORS for byte in high)
        if (
            names_script >= 0.75 * len(high)
            and names_script > sum(byte < 0x20 for byte in low)
            and no_text >= len(high) / 16
            and high.count(0) >= 10 * low.count(0)
        ):
            return f"UTF-16{order}"
    return ""
