"""Input that is certainly not UTF-8 text is refused with advice; other input is not refused."""

import bz2
import gzip
import io
import lzma
import os
import sqlite3
import tarfile
import threading
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seq2seq.errors import ExitCode, UserError
from seq2seq.text import LineReader, open_input, read_lines
from seq2seq.text.first_bytes import refuse_non_text

LINES = {
    "en": "A man is walking.",
    "de": "Er sagt „schön“ – aber",
    "fr": "L’été, c’est déjà là",
    "ru": "Человек идёт по улице",
    "RU": "ГЛАВА ПЕРВАЯ",
    "uk": "Її їжак",
    "el": "Ο άνδρας περπατά",
    "hi": "एक आदमी चल रहा है",
    "ta": "ஒரு மனிதன் நடக்கிறான்",
    "ar": "رجل يمشي في الشارع",
    "fa": "مردی راه می‌رود",
    "he": "איש הולך ברחוב",
    "ka": "კაცი მიდის",
    "hy": "Մարդը քայլում է",
    "am": "ሰውዬው ይራመዳል",
    "vi": "Người đàn ông đang đi bộ",
    "lv": "Āboli ir ēdami",
    "quc": "K’iche’ tzij",
    "table": "de\ten",
    "json": '{"de": "Ja", "en": "Yes"}',
}
UNMARKED_ONLY_BY_LUCK = {
    "zh": "一个男人在走路。", "ja": "男の人が歩いています。", "ko": "남자가 걷고 있다.", "th": "ชายคนหนึ่งกำลังเดิน",
    "my": "လူတစ်ယောက် လမ်းလျှောက်နေသည်။", "pa": "ਇੱਕ ਆਦਮੀ", "gu": "એક માણસ", "bo": "མི་ཞིག",
}  # fmt: skip
"""In these scripts both bytes of a character vary, or one of them is a newline."""


def refusal_of(data: bytes, name: str = "a file.txt") -> str:
    """The error of every way to read these bytes."""
    messages = set()
    for portion in (1, 7, len(data)):
        stream = io.BytesIO(data)
        stream.read1 = lambda n, portion=portion, stream=stream: stream.read(portion)
        with pytest.raises(UserError) as caught:
            LineReader(stream, name).read_window(100, 1 << 20)
        assert caught.value.code == ExitCode.BAD_DATA
        messages.add(str(caught.value))
    assert len(messages) == 1, "a pipe and a file are judged alike"
    return messages.pop()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_utf16_and_utf32(encoding, line):
    name = {"utf-16-le": "UTF-16LE", "utf-16-be": "UTF-16BE", "utf-32-le": "UTF-32LE", "utf-32-be": "UTF-32BE"}
    name = name.get(encoding, encoding.upper())
    for end in ("\n", "\r\n", ""):
        refusal = refusal_of(f"{line}{end}".encode(encoding))
        command = f"iconv -f {name} -t UTF-8 'a file.txt' > 'a file.txt'.utf8"
        assert refusal == f"a file.txt is {name}, not UTF-8 text; convert it: {command}"


@pytest.mark.parametrize("line", UNMARKED_ONLY_BY_LUCK.values(), ids=UNMARKED_ONLY_BY_LUCK)
def test_a_mark_is_enough_in_every_script(line):
    for encoding in ("utf-16", "utf-32"):
        assert "iconv -f UTF-" in refusal_of(f"{line}\n".encode(encoding))
    assert "UTF-16;" in refusal_of(b"\xfe\xff" + line.encode("utf-16-be")).replace(", not UTF-8 text", "")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("corpus/train.de"), io.BytesIO(b""))
    return buffer.getvalue()


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table t (a)")
        return connection.serialize()


FOREIGN = {
    "zip": (zipped(), ["a ZIP file, as .docx, .xlsx and .odt are", "unzip", "as plain text in UTF-8"]),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(8), ["a file of Office, as .doc and .xls are", "plain text"]),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", ["a PDF", "pdftotext FILE FILE.txt"]),
    "tar": (tarred(), ["a tar archive", "tar -xf FILE"]),
    "sqlite": (database(), ["an SQLite database"]),
    "lz4": (b"\x04\x22\x4d\x18\x64", ["lz4 -d FILE"]),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", ["7z x FILE"]),
    "rar": (b"Rar!\x1a\x07\x01\0", ["unrar x FILE"]),
    "parquet": (b"PAR1\x15\x04", ["hf:FOLDER"]),
    "png": (b"\x89PNG\r\n\x1a\n", ["a picture"]),
    "jpeg": (b"\xff\xd8\xff\xe0", ["a picture"]),
}


@pytest.mark.parametrize(("data", "says"), FOREIGN.values(), ids=FOREIGN)
def test_files_of_other_programs(data, says):
    assert all(word in refusal_of(data, "stdin") for word in says)
    for compress, tool in ((gzip.compress, "gunzip"), (bz2.compress, "bunzip2"), (lzma.compress, "unxz")):
        refusal = refusal_of(compress(data), "corpus.gz")
        assert f"decompress it with {tool}, then " in refusal
        assert all(word.replace("FILE", "corpus") in refusal for word in says)


@pytest.mark.parametrize("outer", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("inner", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_twice(outer, inner):
    assert "stdin is compressed twice; decompress it once: " in refusal_of(outer(inner(b"text\n")), "stdin")


# Input that is not refused -----------------------------------------------------------------------------------


def is_refused(data: bytes) -> bool:
    try:
        refuse_non_text(data, "input")
    except UserError:
        return True
    return False


SCRIPTS = [range(0x20, 0x7F), range(0xA1, 0x250), range(0x370, 0x530), range(0x5D0, 0x700), range(0x900, 0x1200),
           range(0x1E00, 0x2070), range(0x3040, 0x3100), range(0x4E00, 0x9FFF), range(0xAC00, 0xD7A3),
           range(0x1F600, 0x1F650)]  # fmt: skip
TEXT = st.text(st.sampled_from([c for block in SCRIPTS for c in map(chr, block)] + ["\t", "\r", "\n", "\ufeff"]))


@settings(database=None, deadline=None)
@given(TEXT)
@example("\ufeffa")
@example("PK, BZh9, Rar!, 7z, PAR1, {\\rtf1")
@example("a\tb\tc\td\n")
@example("\t\t\t\t\t\t\n")
@example("\r\r\r\r\r\r\n")
@example("a\vb\fc\x1cd\x1de\n")
def test_utf8_of_every_script_is_text(text):
    assert text.startswith("%PDF-") or not is_refused(text.encode())


@settings(database=None, deadline=None)
@given(TEXT, st.integers(0, 60), st.integers(1, 6))
@example("abcdefg\n", 5, 6)
def test_text_with_some_zeros_is_text(text, at, n_zeros):
    data = f"word {text}".encode()
    at = min(at, len(data))
    zeros = data[:at] + bytes(n_zeros) + data[at:]
    line = zeros.partition(b"\n")[0]
    assert 3 * n_zeros > len(line) or not is_refused(zeros)


@settings(database=None, deadline=None)
@given(st.binary(max_size=40))
@example(b"\0" * 9)
@example(b"\x01" * 9)
@example(b"\x0e\x0f" * 5)
@example(b"N\bNA\bAM\bME\bE\n")
@example(b"ab\0cd\0ef\0\n")
def test_random_bytes_are_text_unless_every_second_one_is_not(data):
    line = data.partition(b"\n")[0]
    few = min(sum(byte >= 0x20 for byte in line[parity::2]) for parity in (0, 1)) <= len(line) / 8
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))
    known = any(data.startswith(foreign[:4]) for foreign, _ in FOREIGN.values()) or data.startswith(b"\xff\xd8\xff")
    if is_refused(data):
        assert marked or known or (few and len(line) >= 6)


def test_the_first_line_is_returned_without_waiting(tmp_path):
    """The first line is returned while its writer waits, with any beginning."""
    for first in (b"\n", b"P\n", b"PK\n", b"7z\n", b"\xff\n", b"\0\n", b"\0a\n"):
        reading, writing = os.pipe()
        with open(reading, "rb", buffering=0) as stream:
            alarm = threading.Timer(5, os.close, [writing])
            alarm.start()
            os.write(writing, first)
            window = LineReader(stream, "stdin").read_window(10, 1000)
            in_time = alarm.is_alive()
            alarm.cancel()
            assert in_time
            os.close(writing)
            assert window == [first.decode(errors="replace")[:-1]]


def test_a_file_on_disk(tmp_path):
    path = tmp_path / "notepad.txt"
    path.write_bytes("Guten Tag!\r\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"notepad\.txt is UTF-16"):
        next(read_lines(path))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with open_input(str(path)) as stream, pytest.raises(UserError, match="is UTF-16, compressed, not UTF-8 text"):
        LineReader(stream, str(path)).read_window(1, 1)
