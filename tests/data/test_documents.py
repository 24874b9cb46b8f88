"""Documents of every kind are read with their places; what cannot be read is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from burnish.data.documents import load_documents
from burnish.data.html_text import read_html
from burnish.data.passages import Document, passages_of
from burnish.data.words import words
from burnish.errors import DataError


def write_pdf(path: Path, pages: list[str], password: str = "") -> None:
    """A PDF with a line of text a page."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 300)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = stream
    writer.add_metadata({"/Title": "Tariffs"})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(path)


HTML = """<!doctype html>
<html><head><title>Returns &amp; refunds</title><style>p {color: red}</style>
<script>if (1 < 2) document.write("<p>no</p>")</script></head>
<body><h1>Returns</h1>
<p>Send it back within
   30&nbsp;days.<br>No questions.</p>
<ul><li>Shoes<li>Hats</ul>
<table><tr><th>Country<th>Days</tr><tr><td>France<td>14</tr></table>
<pre>a  b
  c</pre>
</body></html>
"""


def test_a_folder_of_every_kind(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("Plain text.\n\nSecond paragraph.\n")
    (tmp_path / "sub" / "guide.md").write_text("\n# The guide #\n\nText of the guide.\n")
    (tmp_path / "page.html").write_text(HTML)
    write_pdf(tmp_path / "tariffs.pdf", ["", "Page two says nine"])
    rows = [{"id": 7, "title": "T", "text": "row one"}, {"text": "row two"}]
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    (tmp_path / "table.csv").write_text("id,text\nx,in a table\n")
    (tmp_path / ".hidden.txt").write_text("not read")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    notices: list[str] = []
    found = {document.id: document for document in load_documents([tmp_path], notice=notices.append)}
    assert list(found) == ["a.txt", "page.html", "7", "rows.jsonl.gz:2", "sub/guide.md", "x", "tariffs.pdf"]
    assert "picture.png" in notices[0]
    assert "hidden" not in notices[0]
    assert (found["sub/guide.md"].title, found["page.html"].title) == ("The guide", "Returns & refunds")
    assert (found["7"].title, found["7"].text, found["7"].place(0)) == ("T", "row one", "line 1")
    assert found["rows.jsonl.gz:2"].place(3) == "line 2"
    assert found["a.txt"].place(found["a.txt"].text.index("Second")) == "line 3"
    pdf = found["tariffs.pdf"]
    assert (pdf.title, pdf.text.strip(), pdf.place(0)) == ("Tariffs", "Page two says nine", "page 2")


def test_html_is_read_as_it_is_shown():
    page = read_html(HTML)
    assert page.blocks == [
        (4, "Returns"),
        (5, "Send it back within 30\xa0days.\nNo questions.".replace("\xa0", " ")),
        (7, "Shoes"),
        (7, "Hats"),
        (8, "Country Days\nFrance 14"),
        (9, "a  b\n  c"),
    ]


@given(st.text(alphabet=st.sampled_from("<>/&;= \n\"'!-abpscrit"), max_size=80))
def test_broken_html_is_read_as_far_as_it_goes(text):
    page = read_html(text)
    assert all(block.strip() and 1 <= line <= text.count("\n") + 1 for line, block in page.blocks)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", b" \n", "the document is empty"),
        ("latin.txt", "Stra\xdfe".encode("latin-1"), "latin.txt:1"),
        ("wide.md", "text".encode("utf-16"), "UTF-16"),
        ("blank.html", b"<p> </p><script>x</script>", "the document is empty"),
        ("broken.pdf", b"%PDF-1.7 nothing", "the PDF cannot be read"),
        ("rows.jsonl", b'{"id": 1, "body_text": "x"}', "rows.jsonl:1:text: the row has no text of a document"),
        ("rows.jsonl", b'{"id": 1, "text": 3}', "a document's text must be text"),
        ("rows.jsonl", b'{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}', "the document's id is that of"),
        ("rows.jsonl", b'{"text": "a"', "rows.jsonl:1"),
        ("letter.docx", b"PK\x03\x04", "neither text, Markdown, HTML, PDF nor rows"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.txt").write_text("good")
    with pytest.raises(DataError) as error:
        load_documents([tmp_path / name, tmp_path / "good.txt"])
    assert said in str(error.value)
    assert name in str(error.value)


def test_locked_and_scanned_pdfs(tmp_path):
    write_pdf(tmp_path / "locked.pdf", ["secret"], password="x")
    write_pdf(tmp_path / "scanned.pdf", [""])
    with pytest.raises(DataError) as error:
        load_documents([tmp_path])
    assert "locked with a password" in str(error.value)
    assert "may be pictures" in str(error.value)
    assert error.value.count == 2


def test_a_folder_without_documents(tmp_path):
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(DataError, match="there are no documents"):
        load_documents([tmp_path])


def plain(text: str) -> Document:
    return Document("d", "", text, "d.txt", "line")


PIECES = st.sampled_from(["a{n} b{n} c{n}. ", "d{n}? ", '"E{n} f{n}!" ', "g{n}\n", "\n\n", "h{n} ", "  ", "i{n}… "])


@given(st.lists(PIECES, max_size=60), st.integers(1, 12), st.integers(0, 8))
def test_passages_hold_all_words_in_order_and_none_is_too_long(pieces, longest, overlap):
    text = "".join(piece.format(n=n) for n, piece in enumerate(pieces))
    passages = list(passages_of(plain(text), longest=longest, overlap=overlap))
    found: list[str] = []
    for passage in passages:
        own = words(passage.text)
        assert passage.text in text
        assert passage.text == passage.text.strip()
        assert 0 < len(own) <= longest
        new = [word for word in own if word not in found]
        assert new, "a passage that only repeats says nothing"
        assert own[len(own) - len(new) :] == new
        assert len(own) - len(new) <= overlap
        found += new
    assert found == words(text)


def test_scripts_without_spaces_are_cut_between_characters():
    text = "今日は雨が降っています。明日は晴れるでしょう。"
    passages = [passage.text for passage in passages_of(plain(text), longest=12, overlap=0)]
    assert passages == ["今日は雨が降っています。", "明日は晴れるでしょう。"]
    assert "".join(passage.text for passage in passages_of(plain(text), longest=4, overlap=0)) == text


def test_neighbours_share_whole_sentences():
    text = " ".join(f"Sentence number {n} stands here." for n in range(10))
    passages = [passage.text for passage in passages_of(plain(text), longest=20, overlap=10)]
    assert passages[0].endswith("number 3 stands here.")
    assert passages[1].startswith("Sentence number 2")
    without = [passage.text for passage in passages_of(plain(text), longest=20, overlap=0)]
    assert " ".join(without) == text


def test_a_passage_ends_with_a_paragraph_that_is_followed_by_a_long_one():
    text = "One two three four five six.\n\nSeven eight. Nine ten. Eleven twelve thirteen."
    passages = [passage.text for passage in passages_of(plain(text), longest=10, overlap=0)]
    assert passages == ["One two three four five six.", "Seven eight. Nine ten. Eleven twelve thirteen."]
