"""Ends of sentences: in every script, after quotes and brackets, and not at abbreviations."""

from itertools import pairwise

import pytest
import regex

from seq2seq.translation.sentences import clause_ends, n_sentences, sentence_ends


def divided(text: str) -> list[str]:
    cuts = [0, *(end.at for end in sentence_ends(text) if end.sure), len(text)]
    return [text[a:b].strip() for a, b in pairwise(cuts)]


SENTENCES = {
    "de": "Ich bin müde.|Das Haus ist alt.",
    "en": "Is it late?|Yes!|Then go.",
    "fr": "Tu viens ?|« Oui ! »|Il est là.",
    "es": "Hola.|¿Qué tal?|¡Muy bien!",
    "tr": "Geldi.|İstanbul'a gitti.",
    "pl": "Był tam.|Żona też.",
    "ru": "Он пришёл.|«Да!»|Она ушла.",
    "el": "Πώς είσαι σήμερα;|Είμαι καλά, ευχαριστώ.|Πού πας;",
    "ka": "ეს პირველი წინადადებაა.|ეს მეორეა.",
    "hy": "Սա առաջին նախադասությունն է։|Սա երկրորդն է։",
    "he": "זה המשפט הראשון.|וזה השני.",
    "ar": "هل هذا هو السؤال؟|نعم هذا هو الجواب.|شكرا لك.",
    "fa": "این جمله اول است.|این دوم است؟|بله.",
    "ur": "یہ پہلا جملہ ہے۔|یہ دوسرا ہے۔|کیا یہ تیسرا ہے؟",
    "hi": "यह पहला वाक्य है।|यह दूसरा वाक्य है।|और यह तीसरा।",
    "gu": "આ પહેલું છે.|આ બીજું છે.",
    "bn": "এটা প্রথম।|এটা দ্বিতীয়।",
    "ta": "இது முதல் வாக்கியம்.|இது இரண்டாவது.",
    "am": "ይህ የመጀመሪያው ነው።|ይህ ሁለተኛው ነው።|ማን ነው፧",
    "ti": "እዚ ቀዳማይ እዩ፡፡|እዚ ካልኣይ እዩ።",
    "my": "ဒါက ပထမ ဖြစ်တယ်။|ဒါက ဒုတိယ ဖြစ်တယ်။",
    "km": "នេះជាប្រយោគទីមួយ។|នេះជាប្រយោគទីពីរ។",
    "bo": "འདི་ནི་དང་པོ་ཡིན།|འདི་ནི་གཉིས་པ་ཡིན།",
    "mn": "ᠡᠨᠡ ᠨᠢᠭᠡ᠃|ᠡᠨᠡ ᠬᠣᠶᠠᠷ᠃",
    "sat": "ᱱᱚᱣᱟ ᱢᱤᱫ᱾|ᱱᱚᱣᱟ ᱵᱟᱨ᱾",
    "mni": "ꯃꯁꯤ ꯑꯃꯅꯤ꯫|ꯃꯁꯤ ꯑꯅꯤꯅꯤ꯫",
    "ko": "이것은 첫 문장입니다.|네.|저것은 둘째입니다.",
    "zh": "这是第一句话。|这是第二句话！|这是第三句话？|是的。",
    "zh, halfwidth": "你好!|我是学生.",
    "ja": "これは最初の文です。|「はい。」|「いいえ。」|四番目。",
    "ja, wide": "これは文です．|円周率は３．１４です．",
    "chakma": "𑄃𑄟𑄬𑅁|𑄖𑄪𑄟𑄨𑅁",
    "quotes": 'He said: "I am here."|Then he left.|(It was late.)|She cried, “Wait!”|He did not.',
    "brackets": "他走了（真的。）|她没走。",
    "spaced": "Ein Mann läuft .|Er lacht .",
    "emoji": "Danke! 😀|Bis bald.",
    "dialogue": "– Kommst du?|– Ja.|– Gut.",
    "small": "der hund bellt.|er läuft! wirklich?|ja.".replace("! w", "!|w"),
    "large": "DER HUND BELLT.|ER LÄUFT.",
    "acronyms": "Er sieht TV.|Sie fährt mit dem LKW.|Gut.",
    "years": "Er kam 1990.|Dann ging er.",
}


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_sentences_end(text):
    assert divided(text.replace("|", " ")) == text.split("|")


@pytest.mark.parametrize(
    "language", ["hi", "bn", "am", "ur", "hy", "my", "km", "bo", "mni", "zh", "ja, wide", "brackets"]
)
def test_sentences_end_without_a_space(language):
    assert divided(SENTENCES[language].replace("|", "")) == SENTENCES[language].split("|")


@pytest.mark.parametrize(
    "text",
    [
        "他说：“我走了。”|“好吧。”",
        "这是第一句话。|“好吧。”他笑了。",
        "これは最初の文です。|「はい。」|「いいえ。」",
        "「もう遅い。」と彼は言った。|次の日。",
    ],
)
def test_quotations_in_text_without_spaces(text):
    assert divided(text.replace("|", "")) == text.split("|")


ONE_SENTENCE = """
Dr. Müller und Prof. Schmidt sind da.
Das ist z. B. Herr Dr. Müller aus St. Gallen.
Er mag z.B. Äpfel, u. a. Boskop, d. h. Obst usw. Gemüse
Nr. 5 lebt.
Die kath. Kirche und der engl. König
Prof. Dr. med. Hans Müller, Dr. rer. nat. Eva Klein
In der Bahnhofstr. Berlin im Sept. Berlin
Vive en EE. UU. España
Am 3. Mai um 10.30 Uhr im 2. Weltkrieg, bzw. Ende des 19. Jahrhunderts
J. S. Bach und John F. Kennedy
Mr. Smith met Mrs. Jones of the U.S. Army, e.g. This, i.e. That, at St. Peter
MR. SMITH AND DR. WHO
prof. smith met dr. who etc. and left
Mwz. 3, uk. 12
Yesu (Mt. 5. Petro) alisema
Sie ging... Dann kam er
Warte … Ich komme
Heinrich VIII. Von England
Pi ist 3.14 oder 3,14
www.example.com/?q=A. und https://x.org/a!b?c=D
a!=b ?x
Wow! it is
¿Qué cosas? porque nadie
(Yahoo!) is
"Wait!" he cried.
„Warte!“, rief er.
Er sagte: „Halt!“ und lief.
What? – no
Sr. García y Sra. López, D. Quijote
проф. Иванов и ул. Ленина, г. Москва и А. С. Пушкин
τον κ. Παπαδόπουλο και τον Δρ. Νίκο
a; B; C
α; Β
डॉ. शर्मा और ए. पी. जे. कलाम
د. محمد هنا
ר. כהן
他说：“是。”然后走
円周率は３．１４だ
ខ្ញុំមានឆ្កែ ឆ្មា ។ល។
អ្វី ។ល។ នេះ
አንድ፡ሁለት፡ሦስት
၁၊ ၂၊ ၃
1. Apfel 2. Birne
...
!!!
。。。
Ein Satz.
"""


@pytest.mark.parametrize("text", [*ONE_SENTENCE.split("\n"), " Ein Satz. ", "Ein Satz.\n", "z.\u00a0B.\u00a0Äpfel"])
def test_no_sentence_ends_inside(text):
    assert divided(text) == [text.strip()]
    assert n_sentences(text) == 1


def test_possible_ends_are_places_to_cut():
    text = "he came. she went… 3 stayed! and Dr. Who, e.g. me"
    assert not any(end.sure for end in sentence_ends("So " + text))
    assert [text[end.at :][:5] for end in sentence_ends(text)] == ["she w", "3 sta", "and D"]


CLAUSES = """
first, |second; |third: |last
3,14 a:b
一，|二、|三；|四：|五
واحد، |اثنان؛ |ثلاثة
አንድ፣ |ሁለት፤ |ሦስት
၁၊ |၂
ένα· |δύο
“yes,” |he said
a — |b – |c
一——|二
「はい、」|と
"""


@pytest.mark.parametrize("text", CLAUSES.split("\n"))
def test_clauses_end(text):
    whole = text.replace("|", "")
    cuts = [0, *clause_ends(whole), len(whole)]
    assert [whole[a:b] for a, b in pairwise(cuts)] == text.split("|")


COMMAS = {"\u104a", "\u1b5e", "\ua9c8"}


def test_every_sentence_terminal_of_unicode_is_known():
    """By Unicode's property as in the ``regex`` library, a dependency of sacreBLEU."""
    everything = "".join(c for c in map(chr, range(0x110000)) if not "\ud800" <= c <= "\udfff")
    terminals = {*regex.findall(r"\p{Sentence_Terminal}", everything)} - COMMAS
    assert len(terminals) > 150
    assert not [f"U+{ord(c):04X}" for c in sorted(terminals) if n_sentences(f"Wort{c} Wort") != 2]


def test_letters_of_other_scripts_end_no_sentence():
    assert n_sentences("𑄃𑄟𑄬 𑄖𑄪𑄟𑄨 𑄃𑄟𑄬") == 1


@pytest.mark.parametrize("text", [".", "a. ", "A. B ", "?” ", "。", " »", "😀", "x", "; ", ", ", "\u1361", "𑄃"])
def test_time_is_proportional_to_the_length_of_a_line(text):
    line = "A" + text * 50_000
    assert n_sentences(line) >= 1
    assert list(clause_ends(line)) is not None
