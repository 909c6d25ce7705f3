"""Lines divided into segments, and translations of segments joined again, in every script."""

import pytest

from seq2seq.tokenizer import Tokenizer, train_model
from seq2seq.translation.segments import Divider, Searched, SegmentCounts, _group_starts, join_segments

# Sentences in several scripts. Each is longer than a third of its line; | is where a line should be cut.
LINES = {
    "en": 'He said: "I am here." |(It was late, very late.) |She cried, “Wait!”',
    "de": "Das ist z. B. Dr. Müller aus St. Gallen. |Er kam am 3. Mai um 10.30 Uhr an. |Er blieb hier bis zum Mai.",
    "hi": "यह पहला वाक्य है। |यह दूसरा वाक्य है। |और यह तीसरा वाक्य है।",
    "ur": "یہ پہلا جملہ ہے۔ |یہ دوسرا جملہ ہے۔ |کیا یہ تیسرا ہے؟",
    "ar": "هل هذا هو السؤال الأول؟ |نعم هذا هو الجواب. |هل فهمت ذلك الآن؟",
    "am": "ይህ የመጀመሪያው ዓረፍተ ነገር ነው። |ይህ ሁለተኛው ዓረፍተ ነገር ነው። |ይህ ሦስተኛው ዓረፍተ ነገር ነው።",
    "my": "ဒါက ပထမ စာကြောင်း ဖြစ်တယ်။ |ဒါက ဒုတိယ စာကြောင်း ဖြစ်တယ်။ |ဒါက တတိယ စာကြောင်း ဖြစ်တယ်။",
    "km": "នេះជាប្រយោគទីមួយ។ |នេះជាប្រយោគទីពីរ។ |នេះជាប្រយោគទីបី។",
    "hy": "Սա առաջին նախադասությունն է։ |Սա երկրորդ նախադասությունն է։ |Սա երրորդ նախադասությունն է։",
    "el": "Πώς είσαι σήμερα εσύ; |Είμαι καλά, ευχαριστώ. |Πού πας τώρα εσύ;",
    "zh": "这是第一句话。|这是第二句话！|这是第三句话？",
    "ja": "これは最初の文です。|「二番目の文です。」|『三番目の文です。』",
    # One sentence each.
    "commas": "an old man with a hat, |a young woman with a coat, |and a small dog",
    "Chinese commas": "我们昨天去了公园，|看见了很多花，|还有小鸟。",
    "spaces": "one two three |one two three |one two three",
    "Thai": "ประโยคแรก |ประโยคสอง |ประโยคสาม",
    "small": "he came on foot. |she took a train. |they met here.",
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    text = [line.replace("|", "") for line in LINES.values()]
    model, _ = train_model(iter(text * 30), vocab_size=700, tokenizer_type="bpe", normalization="nfkc", may_grow=True)
    return Tokenizer(model)


def n_tokens(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode([text])[0])


def divided(
    tokenizer: Tokenizer,
    line: str,
    max_tokens: int,
    max_sentences: int | None = None,
    counts: SegmentCounts | None = None,
) -> list[str]:
    divider = Divider(tokenizer, max_tokens, max_sentences)
    segments = divider.divide(line, tokenizer.encode([line])[0], 7, counts or SegmentCounts())
    assert all(0 < len(segment.ids) <= max_tokens for segment in segments)
    return tokenizer.decode([segment.ids for segment in segments])


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_long_lines_are_cut_at_natural_places(tokenizer, line):
    parts = [part.strip() for part in line.split("|")]
    longest = max(n_tokens(tokenizer, part) for part in parts)
    whole = line.replace("|", "")
    assert longest < n_tokens(tokenizer, whole)
    assert divided(tokenizer, whole, longest) == [tokenizer.decode(tokenizer.encode([part]))[0] for part in parts]


@pytest.mark.parametrize(
    "line", ["a " * 500, "abc. " * 99, "。" * 50, "x" * 999, "  a   b ." * 40, "，" * 99, "กำ" * 60, "é" * 99]
)
@pytest.mark.parametrize("max_tokens", [6, 7, 40])
def test_no_text_is_lost_and_no_segment_is_too_long(tokenizer, line, max_tokens):
    kept = "".join(divided(tokenizer, line, max_tokens))
    assert "".join(kept.split()) == "".join(tokenizer.decode(tokenizer.encode([line]))[0].split())


def test_no_letter_is_separated_from_its_marks(tokenizer):
    starts = {part[0] for part in divided(tokenizer, "ทำเกี่" * 40, 25)}
    assert starts <= {"ท", "เ"}


def test_segments_have_similar_sizes(tokenizer):
    sizes = [len(part.split()) for part in divided(tokenizer, "a " * 50, 49)]
    assert sizes == [25, 25]


@pytest.mark.parametrize(
    ("sizes", "max_size", "max_count", "starts"),
    [
        ([], 5, None, []),
        ([5], 5, None, []),
        ([1, 1, 1, 1], 3, None, [2]),
        ([1, 1, 1, 1], 9, 3, [2]),
        ([1, 1, 1, 1], 9, 1, [1, 2, 3]),
        ([4, 1, 1, 4], 5, None, [2]),
        ([9, 1, 9], 5, None, [1, 2]),
        ([1, 9, 1], 5, 2, [1, 2]),
        ([2, 2, 2, 2, 2], 4, None, [2, 4]),
    ],
)
def test_packing(sizes, max_size, max_count, starts):
    assert _group_starts(sizes, max_size, max_count) == starts


TWO, THREE = "Er schläft. Sie wacht.", "Er schläft. Sie wacht. Wir gehen."


@pytest.mark.parametrize(
    ("line", "max_sentences", "expected"),
    [
        (TWO, None, [TWO]),
        (TWO, 2, [TWO]),
        (TWO, 1, ["Er schläft.", "Sie wacht."]),
        (THREE, 1, ["Er schläft.", "Sie wacht.", "Wir gehen."]),
        (THREE, 2, ["Er schläft. Sie wacht.", "Wir gehen."]),
        ("Dr. Maier schläft.", 1, ["Dr. Maier schläft."]),
        ("", 1, []),
        (" ", 1, []),
        ("Er schläft.\nSie wacht.\n\nWir gehen", None, ["Er schläft.", "Sie wacht.", "Wir gehen"]),
        ("Titel\nEr schläft. Sie wacht.", 1, ["Titel", "Er schläft.", "Sie wacht."]),
        ("\n \n", 1, []),
    ],
)
def test_lines_of_more_sentences_than_in_training(tokenizer, line, max_sentences, expected):
    found = divided(tokenizer, line, 100, max_sentences)
    assert found == expected


def test_lines_in_segments_are_counted(tokenizer):
    counts = SegmentCounts()
    for line in ("Er schläft.", TWO, "one two three four five six seven eight nine. " * 20, THREE, "a\nb"):
        divided(tokenizer, line, 60, 1, counts)
    assert (counts.too_long, counts.several_sentences) == (1, 2)
    assert (
        counts.first
        == "line 7 has 2 sentences, more than the 1 this model translates at once: translated in 2 segments"
    )
    assert counts.total().startswith("3 lines translated in segments: 1 with too many tokens")


@pytest.mark.parametrize(
    ("language", "texts", "ends", "joined"),
    [
        ("en", ["I came.", "I saw."], [True, True], "I came. I saw."),
        ("en", ["I came,", "I saw."], [False, True], "I came, I saw."),
        ("zh", ["我来了。", "我看见了。"], [True, True], "我来了。我看见了。"),
        ("zho_Hans", ["我来了，", "我看见了。"], [False, True], "我来了，我看见了。"),
        ("", ["我来了。", "我看见了。"], [True, True], "我来了。我看见了。"),
        ("zh-Latn", ["Wǒ lái le.", "Wǒ kàn."], [True, True], "Wǒ lái le. Wǒ kàn."),
        ("ja", ["来た。", "見た。"], [True, True], "来た。見た。"),
        ("ko", ["왔다.", "보았다."], [True, True], "왔다. 보았다."),
        ("th", ["ฉันมา", "ฉันเห็น"], [True, True], "ฉันมา ฉันเห็น"),
        ("tha", ["ฉันมา", "แล้ว"], [False, True], "ฉันมาแล้ว"),
        ("km", ["ខ្ញុំមក។", "ខ្ញុំឃើញ។"], [True, True], "ខ្ញុំមក។ ខ្ញុំឃើញ។"),
        ("my", ["လာ", "တယ်။"], [False, True], "လာတယ်။"),
        ("lo", ["ຂ້ອຍມາ", "ແລ້ວ"], [False, True], "ຂ້ອຍມາແລ້ວ"),
        ("bo", ["ང་ཡོང་།", "ངས་མཐོང་།"], [True, True], "ང་ཡོང་། ངས་མཐོང་།"),
        ("en", ["", "I saw.", "", "I won."], [True] * 4, "I saw. I won."),
        ("zh", ["", ""], [True, True], ""),
        ("en", [], [], ""),
        ("en", ["one"], [True], "one"),
    ],
)
def test_translations_are_joined_by_the_rules_of_the_language(language, texts, ends, joined):
    assert join_segments(texts, [Searched([], end) for end in ends], language) == joined
