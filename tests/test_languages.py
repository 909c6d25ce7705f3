"""Languages: every spelling of a code finds its row; for an unknown code the text decides."""

import pytest

from seq2seq.text.languages import code_in_name, is_unspaced, primary, row_of, separator

SPELLINGS = {
    "zh": "zh ZH zho chi cmn yue wuu lzh cn zho_Hans zho_Hant zh-Hans zh-Hant-TW zh-TW zh_CN cmn-Hans-CN yue_Hant",
    "ja": "ja JA jpn jp ja-JP jpn_Jpan ja-Hira",
    "ko": "ko kor ko-KR kor_Hang ko-Kore",
    "th": "th tha th-TH tha_Thai",
    "lo": "lo lao lao_Laoo",
    "km": "km khm khm_Khmr",
    "my": "my mya bur mya_Mymr shn_Mymr",
    "bo": "bo bod tib bod_Tibt dz dzo dzo_Tibt",
    "de": "de DE de-AT de_DE",
    "pt": "pt pt-BR pt_BR",
    "sr": "sr sr-Latn sr_Cyrl",
    "zh-latn": "zh-Latn zh_Latn zh-Latn-pinyin",
    "ja-latn": "ja-Latn",
}


@pytest.mark.parametrize(("row", "code"), [(row, code) for row, codes in SPELLINGS.items() for code in codes.split()])
def test_every_spelling_of_a_code_finds_its_row(row, code):
    assert primary(code) == row
    assert primary(primary(code)) == row


TEXTS = {
    "zh": "我们明天去北京。",
    "ja": "明日は北京に行きます。",
    "ko": "우리는 내일 서울에 갑니다.",
    "th": "พรุ่งนี้เราจะไปกรุงเทพฯ",
    "lo": "ມື້ອື່ນພວກເຮົາຈະໄປວຽງຈັນ",
    "km": "ថ្ងៃស្អែកយើងនឹងទៅភ្នំពេញ",
    "my": "မနက်ဖြန် ကျွန်တော်တို့ ရန်ကုန် သွားမယ်",
    "bo": "སང་ཉིན་ང་ཚོ་ལྷ་སར་འགྲོ་གི་ཡིན།",
}


@pytest.mark.parametrize("code", ["", "xx", "kr", "nan"])
@pytest.mark.parametrize("row", TEXTS)
def test_text_decides_for_an_unknown_code(row, code):
    assert row_of(code, TEXTS[row]) == row
    assert row_of(code, f"OK 12 {TEXTS[row]}") == row


@pytest.mark.parametrize(
    "text",
    ["Wir fahren morgen.", "Завтра мы едем.", "كتاب جديد", "נסע מחר", "हम कल जाएँगे", "", "12 + 3", "saⁿ", "你 OK?"],
)
def test_text_with_spaces_keeps_the_row_of_the_code(text):
    assert row_of("xx", text) == "xx"
    assert row_of("", text) == ""


def test_a_known_code_is_not_overruled_by_text():
    assert row_of("zho_Hans", "OK!") == "zh"
    assert row_of("zh-Latn", TEXTS["zh"]) == "zh-latn"


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (f"{TEXTS['th']} ア", "th"),  # one borrowed character does not make it Japanese
        ("日本国憲法第九条は", "ja"),
        ("中国人民解放军今天开始进行军事演习" * 2 + "の", "zh"),
        ("カタカナ", "ja"),
    ],
)
def test_mixed_text(text, row):
    assert row_of("", text) == row


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *((f"test.{code}", code) for code in ("zh", "zho_Hans", "zh-TW", "jpn", "ko", "th", "ZH", "zh_Latn")),
        ("ref.th.txt", "th"), ("a.b.zh", "zh"),
        *((name, "") for name in ("test", "zh", "refs.txt", "test.en", "test.hyp", "ref.zh-en", "a.zh.de", "x.")),
    ],
)  # fmt: skip
def test_a_file_is_named_after_its_language(name, code):
    assert code_in_name(name) == code


def test_separators_between_pieces_of_text():
    unspaced = [row for row in TEXTS if is_unspaced(row)]
    assert unspaced == [row for row in TEXTS if row != "ko"]
    assert [row for row in unspaced if separator(row, after_sentence=True) == ""] == ["zh", "ja"]
    assert {separator(row, after_sentence=False) for row in unspaced} == {""}
    assert separator("de", after_sentence=False) == separator("ko", after_sentence=True) == " "
