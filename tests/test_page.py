"""HTML pages that are whole: parts are put in once, titles are escaped, and the policy names style and script."""

import json
import re

from seq2seq.drawing.page import json_block, whole_page


def test_a_page():
    text = whole_page(
        "<p>@a@</p><script>@script@</script>", title="<b>@a@", style="", script="1", parts={"a": "@style@"}
    )
    assert "<title>&lt;b&gt;@a@</title>" in text
    assert "<p>@style@</p><script>1</script>" in text, "parts are not filled again"
    assert re.search(r"script-src 'sha256-[^']+'; base-uri 'none'", text)
    assert "script-src 'none'" in whole_page("<p></p>", title="", style="", parts={})


def test_data_cannot_end_its_element():
    hostile = {"a": "</script><!--&"}
    assert not re.search("[<>&]", json_block(hostile))
    assert json.loads(json_block(hostile)) == hostile
