"""How many lines of a corpus may be invalid UTF-8, and the guess of their encoding."""

import codecs

import pytest

from seq2seq.errors import ExitCode, UserError
from seq2seq.text import TextCounts, read_lines
from seq2seq.text.encodings import guess_encoding

TEXTS = {
    "de": ("WINDOWS-1252", "Zwei weiße Männer sind in der Nähe vieler Büsche. Süße Grüße, größte Füße."),
    "fr": ("WINDOWS-1252", "Le garçon était très fatigué après l’école. Où êtes-vous, là-bas ? À bientôt, mon cœur."),
    "es": ("WINDOWS-1252", "El niño comió mañana. ¿Cómo estás? ¡Adiós! Según la señora, también."),
    "pt": ("WINDOWS-1252", "Não há ninguém lá. As crianças estão na escola, são três irmãos."),
    "it": ("WINDOWS-1252", "Perché è così? La città è più bella, però non può."),
    "da": ("WINDOWS-1252", "Mænd på gaden går, hvor børn er små."),
    "is": ("WINDOWS-1252", "Það er gott að þú ert hér. Maðurinn í húsinu."),
    "en": ("WINDOWS-1252", "It’s a “nice” day – isn’t it?"),
    "pl": (
        "WINDOWS-1250",
        "Dwóch młodych mężczyzn jest na zewnątrz. Źle, że się stało. Życie jest łatwe, więc śpiewaj.",
    ),
    "pl, Latin-2": ("ISO-8859-2", "Dwóch mężczyzn jest na zewnątrz. Źle, że się stało. Więc śpiewaj."),
    "cs": ("WINDOWS-1250", "Dva mladí muži jsou venku poblíž křoví. Příliš žluťoučký kůň úpěl ďábelské ódy."),
    "hu": ("WINDOWS-1250", "Két férfi van a bokrok közelében. Árvíztűrő tükörfúrógép, köszönöm szépen, nő, erdő."),
    "hr": ("WINDOWS-1250", "Čovjek šeće cestom. Žena čeka dijete kuće već dođe."),
    "ro": ("WINDOWS-1250", "Doi bărbaţi sunt afară lângă tufişuri. Aşa că înţeleg ţara."),
    "tr": ("WINDOWS-1254", "İki genç adam dışarıda çalıların yakınında. Çocuk ağaçta şarkı söylüyor."),
    "lt": ("WINDOWS-1257", "Du jauni vyrai yra lauke šalia krūmų. Ačiū, žmogus eina į mišką."),
    "lv": ("WINDOWS-1257", "Divi jauni vīrieši ir ārā pie krūmiem. Kaķis guļ, bērni dzied, viņš lasa."),
    "ru": ("WINDOWS-1251", "Двое людей находятся на улице. Он сказал: «Привет!» – и ушёл."),
    "uk": ("WINDOWS-1251", "Двоє молодих людей на вулиці біля кущів. Її їжак і ґанок."),
    "bg": ("WINDOWS-1251", "Двама млади мъже са навън близо до храсти."),
    "ru, Unix": ("KOI8-R", "Двое людей находятся на улице. Он сказал привет и ушёл."),
    "ru, DOS": ("CP866", "Двое людей находятся на улице. Он сказал привет и ушёл."),
    "el": ("WINDOWS-1253", "Δύο νεαροί άνδρες είναι έξω κοντά σε θάμνους. Καλημέρα, τι κάνεις;"),
    "he": ("WINDOWS-1255", "שני גברים צעירים נמצאים בחוץ ליד שיחים. שלום עולם."),
    "ar": ("WINDOWS-1256", "شابان في الخارج بالقرب من شجيرات. مرحبا بالعالم، كيف حالك؟"),
    "fa": ("WINDOWS-1256", "دو مرد جوان در بيرون نزديک خانه هستند. چگونه پدر ژاله."),
    "th": ("TIS-620", "ชายหนุ่มสองคนอยู่ข้างนอกใกล้พุ่มไม้ สวัสดีครับ"),
    "zh": ("GB18030", "两个年轻人在户外靠近许多灌木丛。我们今天去学校，好吗？"),
    "zh-Hant": ("BIG5", "兩個年輕人在戶外靠近許多灌木叢。我們今天去學校，好嗎？"),
    "ja": ("SHIFT_JIS", "二人の若い男性が茂みの近くの屋外にいます。今日は学校に行きます。"),
    "ja, Unix": ("EUC-JP", "二人の若い男性が茂みの近くの屋外にいます。今日は学校に行きます。"),
    "ko": ("EUC-KR", "두 젊은 남자가 덤불 근처 야외에 있다. 안녕하세요, 오늘 학교에 갑니다."),
}


@pytest.mark.parametrize(("encoding", "text"), TEXTS.values(), ids=TEXTS)
def test_the_encoding_of_text_is_guessed(encoding, text):
    assert guess_encoding(text.encode(encoding)) == encoding


def test_other_guesses():
    assert guess_encoding("Zwei weiße Männer mit Büschen, ä".encode()[:-1]) == "UTF-8", "damaged"
    assert guess_encoding("两个年轻人。\n".encode("utf-16-le")) == "UTF-16"
    assert guess_encoding(b"a \x86 b \x87") == "", "signs alone"


def test_the_suggested_encoding_is_known_to_python():
    assert all(codecs.lookup(encoding) for encoding, _ in TEXTS.values())


def refusal_of(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        list(read_lines(path, encoding_errors="refuse", **options))
    assert caught.value.code == ExitCode.BAD_DATA
    return str(caught.value)


def test_one_invalid_line_in_a_hundred_is_allowed(tmp_path):
    path, counts = tmp_path / "it's.de", TextCounts()
    lines = [b"schoen"] * 199 + ["schön".encode("cp1252")] * 2
    path.write_bytes(b"\n".join(lines[1:]))
    assert len(list(read_lines(path, encoding_errors="refuse", counts=counts))) == 200
    assert counts.invalid_utf8 == 2
    path.write_bytes(b"\n".join(lines[2:]))
    assert refusal_of(path) == (
        f"{path}: 2 of 199 lines are not UTF-8, the first is line 198 (looks like WINDOWS-1252); convert it: "
        f"iconv -f WINDOWS-1252 -t UTF-8 '{tmp_path}/it'\"'\"'s.de' > '{tmp_path}/it'\"'\"'s.de'.utf8, or give "
        "`data.encoding_errors=replace`"
    )
    assert len(list(read_lines(path, encoding_errors="replace"))) == 199


def test_a_long_file_is_checked_early_and_at_its_end(tmp_path):
    path = tmp_path / "long"
    good, bad = b"good\n" * 30_000, "schön\n".encode("cp1252") * 200
    path.write_bytes(bad + good)
    with pytest.raises(UserError, match="200 of the first 10,000 lines are not UTF-8, the first is line 1 "):
        list(read_lines(path, encoding_errors="refuse"))
    path.write_bytes(good + bad)
    assert len(list(read_lines(path, encoding_errors="refuse"))) == 30_200
    path.write_bytes(good + bad * 2)
    assert "400 of 30,400 lines are not UTF-8, the first is line 30,001" in refusal_of(path)


def test_mixed_encodings_get_no_iconv_command(tmp_path):
    path = tmp_path / "mixed"
    path.write_bytes("schön\n".encode("cp1252") * 3 + "schön\n".encode() * 3)
    assert "(mixed with UTF-8, looks like WINDOWS-1252); convert only those lines, or give" in refusal_of(path)
    path.write_bytes("Männer schön und grün, ä\n".encode().replace("ä\n".encode(), b"\xc3\n") * 3)
    assert "(damaged UTF-8); correct those lines, or give" in refusal_of(path)
