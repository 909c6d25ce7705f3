"""HTML pages: hostile texts, what a file holds, and what a browser makes of it."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

HOSTILE = [
    "<script>document.title='pwned'</script>",
    "</script><img src=x onerror=document.title='pwned'>",
    "<!--",
    "\"'`${document.title='pwned'}",
    "\u202egnirts\u2066",
    "\x00\x1b",
    "\ud800",
    "&lt;b&gt;",
    "]]>",
    "\u2028",
]


class Tags(HTMLParser):
    """Elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
in_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: the page is not tried in a browser"
)


def browse(path: Path, *options: str) -> str:
    """What chromium prints about a page."""
    words = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=5000",
        "--enable-logging=stderr",
    ]
    done = subprocess.run(
        [CHROMIUM, *words, *options, f"--user-data-dir={path.parent / 'profile'}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def opened(folder: Path, text: str, *, then: str = "", frame: int | None = None) -> str:
    """The page after its script has run.

    Args:
        folder: to write it to.
        text: of the page.
        then: a script that runs after it and may write into the attribute ``data-seen`` of the document.
        frame: width in pixels; None: a wide window.
    """
    if then:
        script = f"<script>{then}</script>"
        text = text.replace("</body>", f"{script}</body>")
        text = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", text)
    (folder / "page.html").write_text(text, encoding="utf-8")
    return browse(folder / "page.html", f"--window-size={frame or 1200},900", "--dump-dom")


def seen(dom: str) -> dict:
    text = unescape(re.search(r'data-seen="([^"]*)"', dom)[1])
    return json.loads(re.sub("[\u2068\u2069]", "", text))  # which isolate pieces of any direction


def layout(folder: Path, text: str, width: int) -> list:
    """A page in a frame of some width, as windows of a headless browser are not so narrow.

    Returns:
        Its mark for "drawn"; whether it is no wider than the frame; elements that reach beyond it.
    """
    (folder / "inner.html").write_text(text, encoding="utf-8")
    outer = f"""<body><iframe src="inner.html" width="{width}" height="900"></iframe><script>
    onload = () => setTimeout(() => {{
      const page = document.querySelector("iframe").contentDocument.documentElement;
      const out = [...page.querySelectorAll("p, button, span, canvas, select, fieldset, svg, dd, dt, li")].filter((e) =>
        !e.closest(".scroll") && e.getBoundingClientRect().right > page.clientWidth + 0.5);
      document.documentElement.dataset.seen = JSON.stringify(
        [page.dataset.drawn || "", page.scrollWidth <= page.clientWidth, out.map((e) => e.outerHTML.slice(0, 60))]);
    }}, 1000);
    </script>"""
    (folder / "page.html").write_text(outer, encoding="utf-8")
    options = ["--window-size=1400,1000", "--allow-file-access-from-files", "--dump-dom"]
    return seen(browse(folder / "page.html", *options))


_CONTRAST = """
const luminance = (c) => {
  const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor;
    if (!/rgba/.test(c)) return c;
  }
};
const worst = [...document.querySelectorAll("main *")].filter((e) => e.children.length === 0 && e.textContent
    && e.tagName !== "OPTION" && !e.closest("#keys"))
  .map((e) => [luminance(getComputedStyle(e).color), luminance(behind(e)), e.outerHTML.slice(0, 50)])
  .map(([a, b, e]) => [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e]).sort((a, b) => a[0] - b[0])[0];
document.documentElement.dataset.seen = JSON.stringify(
  [matchMedia("(prefers-color-scheme: dark)").matches, worst[0]]);
"""


def contrast(folder: Path, text: str, *, is_dark: bool) -> float:
    """The lowest contrast of a text with what lies behind it, by WCAG's formula."""
    opened(folder, text, then=_CONTRAST)
    options = [f"--blink-settings=preferredColorScheme={0 if is_dark else 1}", "--dump-dom"]
    dark, found = seen(browse(folder / "page.html", *options))
    assert dark == is_dark
    return found
