"""Normalization: what ``nfc`` changes and what it keeps, by the SentencePiece model alone."""

import unicodedata
from itertools import pairwise

import pytest
import sentencepiece
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from seq2seq.tokenizer import train_model
from seq2seq.tokenizer.normalization import _LATIN_MARKS, _letters_of_forms, nfc_rules, normalizer

ALL = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x110000))]
FORMS = _letters_of_forms()
PLAIN = [f"der hund {i} läuft über den hof" for i in range(60)]

# Short texts as people write them, in NFC already.
TEXTS = {
    "Persian": "می‌خواهم کتاب‌ها را بخوانم؛ نمی‌دانم چرا؟",
    "Kurdish": "نا‌توانم بێم",
    "Arabic": "السَّلامُ عَلَيْكُم، محمد ﷺ ﷲ كـتاب",
    "Urdu": "یہ کتاب میری ہے۔ کیا آپ آئیں گے؟",
    "Hebrew": "\u200fשָׁלוֹם!\u200f מַה שְּׁלוֹמְךָ? צה״ל",
    "Thai": "ฉันทำงานที่นั่น น้ำเย็นมาก ๆ",
    "Lao": "ນ້ຳ ໜັງສື ໝາ ຫຼາຍ",
    "Khmer": "ខ្ញុំ\u200bទៅ\u200bផ្សារ។",
    "Burmese": "မြန်မာ\u200bစာ ဖတ်တယ်။",
    "Tibetan": "བོད༌སྐད་ཡིན།",
    "Armenian": "Հայր և մայր։ Ո՞վ է։",
    "Georgian": "გამარჯობა, როგორ ხარ?",
    "Amharic": "ሰላም፣ እንዴት ነህ፧ ደህና ነኝ።",
    "Hindi": "क\u093cलम और ज\u093cमीन। श्री\u200dमान",
    "Marathi": "दुसऱ्या ऩ र्\u200dय",
    "Bengali": "পড\u09bcা হয\u09bcনি। ক\u09cd\u200dষ ৎ",
    "Punjabi": "ਸ\u0a3cਹਿਰ ਵਿੱਚ",
    "Telugu": "కాంటాక్ట్\u200cలో ఉంది",
    "Kannada": "ಕೋಟೆ ರಾಜ್\u200cಕುಮಾರ್",
    "Tamil": "கொடுக்கிறேன், ஸ்ரீ ௧௦",
    "Malayalam": "ഞാൻ കോഴിക്കോട് അവൻ\u200d",
    "Sinhala": "ශ්\u200dරී ලංකාව කෝපි",
    "Chinese": "你好，世界！（真的）：“是”；价格１２３元～",
    "Japanese": "１０時～１２時：ＯＫ！？　ガギグ ｶﾞ ㋿ ㍿",
    "Korean": "한국어 ㅋㅋㅋ ㅠㅠ ① ㈜",
    "Vietnamese": "Tiếng Việt ở đường Nguyễn Huệ",
    "Yoruba": "Ẹ kú àárọ̀, ọmọ́ ẹ́ ṣé",
    "Taiwanese": "saⁿ kiaⁿ chi̍t ê o͘h-seng",
    "Salish": "kʷukʷ xʷəlməxʷ q̓ʷa ƛ̕",
    "K'iche'": "k’iche’ xb’an kʼo ri achʼab",
    "Hawaiian": "Hawaiʻi ke kōkua ʻana",
    "French": "« Quoi\u202f?\u00a0» dit-elle… 10\u202f000\u00a0km 1ᵉʳ œuvre",
    "Spanish": "¿1º o 2ª? n.º 3",
    "Catalan": "col·legi coŀlegi",
    "Dutch": "ĳs, Ĳsland, één",
    "Russian": "№ 5 — «ёлка», й",
    "Greek": "Ἀρχιμήδης ᾧ ᾅδης· τί;",
    "Turkish": "ıIiİ ağaç",
    "German": "Donau\u00addampf\u2011schiff „so“ 20 m² ½ 5 µm",
    "mathematics": "21⁄2 10² x₁ ≠ ½ ⅓ ℝ ∑ 𝑥 ″ ′ ℃ Ⅷ ™",
    "emoji": "👩\u200d💻 ❤\ufe0f 🏳️\u200d🌈 🇩🇪 1️⃣ \U000e0001",
    "Cherokee": "ᏣᎳᎩ ᎣᏏᏲ",
    "N'Ko": "ߒߞߏ ߓߊ߲߬",
    "Inuktitut": "ᐃᓄᒃᑎᑐᑦ",
    "Mongolian": "ᠮᠣᠩ\u180eᠭᠣᠯ ᠭ\u180b",
    "bidi": "\u2068abc\u2069 \u202babc\u202c \u061cمرحبا a\u2060b",
    "invisible": "a\ufeffb\0c\x01d\u200be\x85f\u2028g\rh\ti\x7f",
    "private": "\ue000 \U000f0000 \ufdd0 \ufdd1 \ufffe \U0010ffff \u0378 \ufffd",
    "mark of a space": "a\u2581b \u2581 \u2581\u2581 \ufdd0\u2581\ufdd1",
}  # fmt: skip


@pytest.fixture(scope="module")
def models():
    """SentencePiece models by tokenizer_type and normalization, trained on other text."""

    def trained(kind, rule):
        model, _ = train_model(iter(PLAIN), vocab_size=330, tokenizer_type=kind, normalization=rule)
        return sentencepiece.SentencePieceProcessor(model_proto=model)

    return {(kind, rule): trained(kind, rule) for kind in ("unigram", "bpe") for rule in ("nfc", "identity")}


@pytest.fixture(scope="module")
def nfc(models):
    """A text after encoding and decoding."""
    model = models["unigram", "nfc"]
    return lambda text: model.decode(model.encode(text))


@pytest.mark.parametrize("language", TEXTS)
def test_texts_of_all_kinds_are_decoded_byte_for_byte(models, language):
    text = TEXTS[language]
    for model in models.values():
        assert model.decode(model.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("e\u0301 o\u031b\u0301 o\u0301\u031b u\u0308\u030c", "é ớ ớ ǚ"),
        ("a\u0323\u0302 a\u0302\u0323 \u00e2\u0323 \u1ea1\u0302", "ậ ậ ậ ậ"),
        ("e\u0301\u0323 \u00e9\u0323 e\u0323\u0301", "ẹ\u0301 ẹ\u0301 ẹ\u0301"),
        ("\u1112\u1161\u11ab \ud558\u11ab \u1100\u1161", "한 한 가"),
        ("\u212b \u2126 \u212a \u037e \u0340", "Å Ω K ; \u0300"),
        ("\u0958\u09dc\u0a59", "\u0915\u093c\u09a1\u09bc\u0a16\u0a3c"),
        ("\u0627\u0653 \u09c7\u09be \u0bc6\u0bbe \u3046\u3099", "\u0622 \u09cb \u0bca \u3094"),
        ("\uf900\U0002f800 \u2f00", "\u8c48\u4e3d \u2f00"),  # compatibility ideographs are canonical, radicals are not
        ("ﬀﬁﬂﬃﬄﬅﬆ Ǆ ŉ", "fffiflffifflſtst Ǆ ŉ"),
        ("ﬁ\u0301", "fí"),
        ("ﺍﻟﺴﻼﻡ ﻷ ﭘ ﯼ ﳌ", "السلام لأ پ ی لم"),
        ("ﺍ\u0653 ﻻ\u0653", "آ لآ"),
        ("\ufe70\ufe77\ufc60\ufdfa\ufdfb\ufdfc\ufdfd\ufd3e", "\ufe70\ufe77\ufc60\ufdfa\ufdfb\ufdfc\ufdfd\ufd3e"),
        ("  a   b  \u00a0 \u3000 c ", "a b \u00a0 \u3000 c"),
        ("a\tb \t c", "a\tb \t c"),
    ],
)  # fmt: skip
def test_text_that_nfc_changes(nfc, text, becomes):
    assert nfc(text) == becomes


def test_each_single_character_becomes_its_nfc_or_its_letters(nfc):
    """Between characters that compose with nothing."""
    for start, end in pairwise([*range(0, len(ALL), 50_000), len(ALL)]):
        expected = (FORMS.get(char, unicodedata.normalize("NFC", char)) for char in ALL[start:end])
        assert nfc("一".join(ALL[start:end])).strip() == "一".join(expected).strip()


def test_each_composed_character_is_composed_from_any_spelling(nfc):
    decomposed = [unicodedata.normalize("NFD", char) for char in ALL]
    changed = [text for text, char in zip(decomposed, ALL, strict=True) if text != char]
    assert len(changed) > 13_000
    assert nfc("一".join(changed)) == unicodedata.normalize("NFC", "一".join(changed))
    # Syllables of Korean whose vowel has joined already, and last marks that come first.
    halves = [unicodedata.normalize("NFC", text[:2]) + text[2:] for text in changed if len(text) > 2]
    swapped = [text[:-2] + text[-1] + text[-2] for text in changed if len(text) > 2]
    for texts in (halves, swapped):
        assert nfc("一".join(texts)) == unicodedata.normalize("NFC", "一".join(texts))


def same_but_for_order(a, b):
    return sorted(a) == sorted(b)


@settings(database=None, deadline=None, max_examples=200)
@given(
    st.sampled_from([c for c in ALL[:0x250] if c.isalpha()]),
    st.text(st.sampled_from(_LATIN_MARKS), min_size=1, max_size=2),
)
@example("e", "\u0301\u0331")
def test_any_two_marks_of_latin_letters_are_composed(nfc, letter, marks):
    """As in NFC, except for the order of marks that are not composed."""
    text = unicodedata.normalize("NFD", letter)
    assume(len(text) == 1)
    for spelling in (text + marks, unicodedata.normalize("NFC", text + marks[0]) + marks[1:]):
        assert same_but_for_order(nfc(spelling), unicodedata.normalize("NFC", spelling))


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(database=None, deadline=None, max_examples=200)
@given(ANY_TEXT)
def test_text_in_nfc_stays_as_it_is(models, text):
    text = " ".join(part for part in unicodedata.normalize("NFC", text).split(" ") if part)
    assume(not set(text) & set(FORMS))
    for kind in ("unigram", "bpe"):
        model = models[kind, "nfc"]
        assert model.decode(model.encode(text)) == text


MARKED = st.builds(
    "".join, st.tuples(st.sampled_from("AEOUaeoucs"), st.text(st.sampled_from(_LATIN_MARKS), max_size=2))
)


@settings(database=None, deadline=None, max_examples=200)
@given(st.lists(MARKED | st.sampled_from([" ", *FORMS, *list(nfc_rules())[:2000:7]])).map("".join))
def test_it_changes_no_letter_or_mark(nfc, text):
    """The compatibility decomposition stays the same, also for three or more marks on a letter."""
    once, given = (unicodedata.normalize("NFKD", one.replace(" ", "")) for one in (nfc(text), text))
    assert once == given


@settings(database=None, deadline=None, max_examples=200)
@given(st.lists(MARKED | st.sampled_from([" ", *FORMS])).map("".join))
def test_composed_marks_are_not_changed_again(nfc, text):
    assert nfc(nfc(text)) == nfc(text)


@pytest.mark.parametrize(
    ("learned", "text", "becomes"),
    [
        (["ব\u09dfস", "প\u09dcা", "পড\u09bcা"], "হ\u09dfনি হয\u09bcনি", "হ\u09dfনি হ\u09dfনি"),
        (["বয\u09bcস", "ব\u09dfস", "প\u09dcা"], "হ\u09dfনি হয\u09bcনি পড\u09bcা", "হয\u09bcনি হয\u09bcনি প\u09dcা"),
        (["क\u093cलम"], "\u0958लम", "क\u093cलम"),
        (["\u0958लम"], "\u0958लम क\u093cलम", "\u0958लम \u0958लम"),
        (["\ufb2aלום"], "\ufb2aלום", "\ufb2aלום"),
    ],
)  # fmt: skip
def test_letters_that_nfc_decomposes_are_decoded_as_in_the_training_text(learned, text, becomes):
    """Both spellings are the same for the model. Bengali keyboards write one, Wikipedia the other."""
    trained, _ = train_model(iter(PLAIN + learned), vocab_size=400, tokenizer_type="bpe", normalization="nfc")
    model = sentencepiece.SentencePieceProcessor(model_proto=trained)
    assert model.decode(model.encode(text)) == becomes
    assert model.encode(text) == model.encode(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize("text", ["a\u2581b", "\u2581", "\ufdd0", "\ufdd0\ufdd1", "\ufdd0\u2581\u2581 \u2581"])
def test_the_symbol_of_a_space_is_not_a_space(models, text):
    for model in models.values():
        ids = model.encode(text)
        assert model.decode(ids) == text
        assert text.count(" ") == sum(piece.count("\u2581") for piece in model.id_to_piece(ids)) - 1


def test_the_rules_are_small():
    sizes = [len(normalizer(name).serialized_normalizer_spec()) for name in ("identity", "nfkc", "nfc")]
    assert sizes[0] < 2_000
    assert sizes[2] < 1.2 * sizes[1]
