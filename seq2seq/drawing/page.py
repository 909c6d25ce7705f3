"""HTML pages that are whole: style, script and data are inside, and a content security policy forbids all else.

What a page shows may come from a hostile corpus: text is escaped, or it is data that a script shows as text only.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any


def read_part(package: str, name: str) -> str:
    """A file that belongs to a package, such as a style."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def whole_page(body: str, *, title: str, style: str, script: str = "", parts: Mapping[str, str]) -> str:
    """Make a page.

    Args:
        body: HTML with the names of parts between ``@``: ``script`` if the page has one, and those of ``parts``.
        title: text, which is escaped.
        style: CSS, in front of which the style that all pages share is put.
        script: JavaScript; a page without one may not run any.
        parts: HTML by name.
    """
    style = read_part("seq2seq.drawing", "page.css") + style
    runs = f"'{_digest(script)}'" if script else "'none'"
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src {runs}; base-uri 'none'; form-action 'none'"
    known = {"policy": policy, "title": escape(title), "style": style}
    known["body"] = _fill(body, {"script": script, **parts})
    return _fill(read_part("seq2seq.drawing", "page.html"), known)


def _fill(template: str, parts: Mapping[str, str]) -> str:
    before, *others = template.split("@")  # text, name, text, name, ...
    return before + "".join(parts[part] if i % 2 == 0 else part for i, part in enumerate(others))


def json_block(data: Any) -> str:
    """Data as the content of a script element: without a character that could end it."""
    text = json.dumps(data, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
