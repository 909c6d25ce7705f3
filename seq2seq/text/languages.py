"""Languages and scripts: one table, which knows every spelling of a language code.

``zh``, ``zho``, ``chi``, ``cmn_Hans``, ``zh-TW`` and ``ZH`` name the same row. If a code names a script, the script
decides: ``zh-Latn`` is pinyin, which is written with spaces.

Sources: ISO 639-1 and -3, ISO 15924, BCP 47; Unicode 16, Line_Break=SA (scripts without spaces between words).
"""

import re

# ISO 639-1 code: other codes (ISO 639-3 and -2) | names in English and in the language itself, as in headers of tables.
_NAMES = {
    "af": "afr|Afrikaans", "ak": "aka|Akan", "am": "amh|Amharic", "ar": "ara arb|Arabic|العربية",
    "as": "asm|Assamese", "ay": "aym|Aymara", "az": "aze|Azerbaijani", "be": "bel|Belarusian",
    "bg": "bul|Bulgarian|Български", "bn": "ben|Bengali|Bangla", "bo": "bod tib|Tibetan", "br": "bre|Breton",
    "bs": "bos|Bosnian", "ca": "cat|Catalan|Català", "cs": "ces cze|Czech|Čeština", "cy": "cym wel|Welsh|Cymraeg",
    "da": "dan|Danish|Dansk", "de": "deu ger|German|Deutsch", "ee": "ewe|Ewe", "el": "ell gre|Greek|Ελληνικά",
    "en": "eng|English", "eo": "epo|Esperanto", "es": "spa|Spanish|Español|Castellano", "et": "est|Estonian|Eesti",
    "eu": "eus baq|Basque|Euskara", "fa": "fas per pes|Persian|Farsi|فارسی", "fi": "fin|Finnish|Suomi",
    "fo": "fao|Faroese", "fr": "fra fre|French|Français", "fy": "fry|Frisian|Western Frisian",
    "ga": "gle|Irish|Gaeilge", "gd": "gla|Scottish Gaelic|Gàidhlig", "gl": "glg|Galician|Galego",
    "gn": "grn|Guarani", "gu": "guj|Gujarati", "ha": "hau|Hausa", "he": "heb|Hebrew|עברית", "hi": "hin|Hindi|हिन्दी",
    "hr": "hrv|Croatian|Hrvatski", "ht": "hat|Haitian Creole|Kreyòl", "hu": "hun|Hungarian|Magyar",
    "hy": "hye arm|Armenian", "id": "ind|Indonesian|Bahasa Indonesia", "ig": "ibo|Igbo",
    "is": "isl ice|Icelandic|Íslenska", "it": "ita|Italian|Italiano", "ja": "jpn jp|Japanese|日本語",
    "jv": "jav|Javanese",
    "ka": "kat geo|Georgian", "kk": "kaz|Kazakh", "km": "khm|Khmer", "kn": "kan|Kannada", "ko": "kor|Korean|한국어",
    "ku": "kur|Kurdish", "ky": "kir|Kyrgyz", "la": "lat|Latin", "lb": "ltz|Luxembourgish", "lg": "lug|Luganda|Ganda",
    "ln": "lin|Lingala", "lo": "lao|Lao", "lt": "lit|Lithuanian|Lietuvių", "lv": "lav|Latvian|Latviešu",
    "mg": "mlg|Malagasy", "mi": "mri mao|Maori|Māori", "mk": "mkd mac|Macedonian", "ml": "mal|Malayalam",
    "mn": "mon|Mongolian", "mr": "mar|Marathi", "ms": "msa may|Malay|Bahasa Melayu", "mt": "mlt|Maltese",
    "my": "mya bur|Burmese", "nb": "nob|Bokmål|Norwegian Bokmål", "ne": "nep npi|Nepali",
    "nl": "nld dut|Dutch|Nederlands", "nn": "nno|Nynorsk|Norwegian Nynorsk", "no": "nor|Norwegian|Norsk",
    "ny": "nya|Chichewa|Nyanja", "oc": "oci|Occitan", "om": "orm|Oromo", "or": "ori ory|Odia|Oriya",
    "pa": "pan|Punjabi", "pl": "pol|Polish|Polski", "ps": "pus|Pashto", "pt": "por|Portuguese|Português",
    "qu": "que|Quechua", "ro": "ron rum|Romanian|Română", "ru": "rus|Russian|Русский", "rw": "kin|Kinyarwanda",
    "sd": "snd|Sindhi", "se": "sme|Northern Sami", "si": "sin|Sinhala", "sk": "slk slo|Slovak|Slovenčina",
    "sl": "slv|Slovenian|Slovene|Slovenščina", "sn": "sna|Shona", "so": "som|Somali", "sq": "sqi alb|Albanian|Shqip",
    "sr": "srp|Serbian|Српски|Srpski", "st": "sot|Sesotho|Southern Sotho", "su": "sun|Sundanese",
    "sv": "swe|Swedish|Svenska", "sw": "swa swh|Swahili|Kiswahili", "ta": "tam|Tamil", "te": "tel|Telugu",
    "tg": "tgk|Tajik", "th": "tha|Thai|ไทย", "ti": "tir|Tigrinya", "tk": "tuk|Turkmen",
    "tl": "tgl fil|Tagalog|Filipino", "tn": "tsn|Tswana|Setswana", "tr": "tur|Turkish|Türkçe", "ts": "tso|Tsonga",
    "tt": "tat|Tatar", "tw": "twi|Twi", "ug": "uig|Uyghur", "uk": "ukr|Ukrainian|Українська", "ur": "urd|Urdu|اردو",
    "uz": "uzb|Uzbek", "vi": "vie|Vietnamese|Tiếng Việt", "wo": "wol|Wolof", "xh": "xho|Xhosa|isiXhosa",
    "yi": "yid|Yiddish", "yo": "yor|Yoruba", "zh": "zho chi cmn cn|Chinese|Mandarin|中文|汉语",
    "zu": "zul|Zulu|isiZulu",
}  # fmt: skip
_NAMES_IN_OTHER_LANGUAGES = {
    "de": "Allemand Alemán Tedesco Alemão Duits Немецкий",
    "en": "Englisch Anglais Inglés Inglese Inglês Engels Английский",
    "es": "Spanisch Espagnol Spagnolo Espanhol Spaans Испанский",
    "fr": "Französisch Francés Francese Francês Frans Французский",
    "it": "Italienisch Italien Italiaans",
    "nl": "Niederländisch Néerlandais Neerlandés Olandese Holandês",
    "pt": "Portugiesisch Portugais Portugués Portoghese Portugees",
    "ru": "Russisch Russe Ruso Russo",
}
"""Names in other languages, for the most translated languages."""
_CODE_OF = {spelling: code for code, row in _NAMES.items() for spelling in row.partition("|")[0].split()}
_CODE_OF_NAME = {name.casefold(): code for code, row in _NAMES.items() for name in row.split("|")[1:]}
_CODE_OF_NAME |= {name.casefold(): code for code, row in _NAMES_IN_OTHER_LANGUAGES.items() for name in row.split()}
_HEADER_CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")

_ROWS = ("zh", "ja", "ko", "th", "lo", "km", "my", "bo")
"""Rows: languages with special rules. Other languages have no row."""
_SAME_SCRIPT = {"zh": "yue wuu lzh gan hsn cjy", "bo": "dz dzo"}
"""Codes of other languages that are written in the same way and use the same row."""
_PRIMARY = {spelling: code for spelling, code in _CODE_OF.items() if code in _ROWS} | {row: row for row in _ROWS}
_PRIMARY |= {code: row for row, codes in _SAME_SCRIPT.items() for code in codes.split()}

# The row of a script, for any language. Other scripts are written with spaces.
_BY_SCRIPT = {
    "hans": "zh", "hant": "zh", "hani": "zh", "jpan": "ja", "hira": "ja", "kana": "ja", "kore": "ko", "hang": "ko",
    "thai": "th", "laoo": "lo", "khmr": "km", "mymr": "my", "tibt": "bo",
}  # fmt: skip

_UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo"})
"""Rows of languages written without spaces between words. Korean has spaces."""

_NO_SPACE_AFTER_A_SENTENCE = frozenset({"zh", "ja"})
"""In the other rows a space separates two sentences, as these languages have little punctuation or none."""

_KANA = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTERS = {
    "ja": re.compile(f"[{_KANA}]"),
    "zh": re.compile(f"[{_HAN}]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "lo": re.compile("[\u0e80-\u0eff]"),
    "bo": re.compile("[\u0f00-\u0fff]"),
    "my": re.compile("[\u1000-\u109f\ua9e0-\ua9fe\uaa60-\uaa7f]"),
    "km": re.compile("[\u1780-\u17ff\u19e0-\u19ff]"),
    "ko": re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"),
}
_LETTER = re.compile(r"[^\W\d_]")
# A code with a script, a region or both; zh-en is two languages.
_CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z]{4})?([-_]([A-Z]{2}|\d{3}))?")


def primary(code: str) -> str:
    """The row of a language: its ISO 639-1 code if the table has it, else the first part of the code in lower case.

    Args:
        code: a language code in any spelling: ``zho_Hans``, ``zh-TW``, ``JPN``, ``th``.
    """
    language, *others = code.replace("_", "-").lower().split("-")
    for subtag in others:
        if len(subtag) == 4 and subtag.isalpha():
            # A script without a row is written with spaces: pinyin is zh-latn, which has no row.
            return _BY_SCRIPT.get(subtag, f"{language}-{subtag}" if language in _PRIMARY else language)
    return _PRIMARY.get(language, language)


def _is_known(row: str) -> bool:
    return row in _ROWS or "-" in row


def code_in_name(name: str) -> str:
    """The language code in a file name, such as ``zho_Hans`` in ``ref.zho_Hans`` and ``th`` in ``test.th.txt``.

    Args:
        name: name of a file, without the suffix of its compression.

    Returns:
        The code; empty if the name does not end in the code of a row.
    """
    code = name.removesuffix(".txt").rpartition(".")[2]
    return code if code != name and _CODE.fullmatch(code) and _is_known(primary(code)) else ""


def row_of(code: str, text: str) -> str:
    """The row of a language, guessed from the text if the table does not know its code.

    Args:
        code: as for ``primary``.
        text: text in that language.

    Returns:
        The result of ``primary``; or the row of a script, if most letters of the text are of such scripts.
    """
    row = primary(code)
    if _is_known(row):
        return row
    n_letters = len(_LETTER.findall(text))
    found = {script: len(letters.findall(text)) for script, letters in _LETTERS.items()}
    if not n_letters or 2 * sum(found.values()) <= n_letters:
        return row
    row = max(found, key=lambda script: found[script])
    if row in ("zh", "ja"):  # Chinese has no kana, Japanese has kana and kanji
        return "ja" if 10 * found["ja"] > found["zh"] else "zh"
    return row


def is_unspaced(row: str) -> bool:
    """Whether the language of a row is written without spaces between words."""
    return row in _UNSPACED


def separator(row: str, *, after_sentence: bool) -> str:
    """The separator between two neighbouring pieces of text: a space or nothing.

    Args:
        row: of the language, from ``primary`` or ``row_of``.
        after_sentence: whether the first piece ends a sentence; otherwise the cut is within a sentence.
    """
    if row in _UNSPACED and (row in _NO_SPACE_AFTER_A_SENTENCE or not after_sentence):
        return ""
    return " "


def code_of(text: str) -> str | None:
    """The language of a code: ``de`` for ``deu_Latn`` and ``de-AT``, ``quc`` for ``quc``; None if it is not a code."""
    if not _HEADER_CODE.fullmatch(text):
        return None
    language = re.split("[-_]", text)[0].lower()
    return _CODE_OF.get(language, language)


def code_of_name(text: str) -> str | None:
    """The language of a name: ``de`` for ``German`` and ``Deutsch``; None for an unknown name."""
    return _CODE_OF_NAME.get(re.sub("[-_]", " ", text.casefold()))
