"""Files of documents to search in: text, Markdown, HTML, PDF, and tables or JSONL with one document a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.data.html_text import read_html
from burnish.data.passages import Document
from burnish.data.read import Row, Unreadable, read_rows
from burnish.data.streams import encoding_problem, wide_encoding
from burnish.errors import DataError, Problem, shorten
from burnish.records import Json

TEXTS = (".txt", ".text", ".md", ".markdown", ".rst")
PAGES = (".html", ".htm", ".xhtml")
ROWS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
KINDS = (*TEXTS, *PAGES, ".pdf", *ROWS)
_PACKED = (".gz", ".zst")
_HEADING = re.compile(r"(?m)^#{1,6}[ \t]+(.+?)[ \t#]*$")
TEXT_FIELDS = ("text", "content", "contents", "body", "passage", "document")
ID_FIELDS = ("id", "_id", "doc_id", "document_id")
TITLE_FIELDS = ("title", "heading", "name")


def load_documents(
    paths: Sequence[Path], *, notice: Callable[[str], None] | None = None, show: int = 20
) -> list[Document]:
    """All documents of files and folders (with the folders in them), in the order of their names.

    notice: told of files that are left out for their ending. A document's id is that of its row, or the file's path
    below the folder that was named. Raises DataError with the first `show` files or rows that cannot be read, for
    ids that appear twice, and when there is no document.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for item in iter_documents(paths, notice=notice):
        if isinstance(item, Problem):
            problems.append(item)
            continue
        here = f"{item.file}, {item.place(0)}"
        if item.id in seen:
            what = f"the document's id is that of {seen[item.id]}"
            problems.append(Problem(item.file, 0, "id", what, shorten(item.id), "Give each document its own id."))
        seen.setdefault(item.id, here)
        documents.append(item)
    if problems:
        what = f"{len(problems):,} document{'s' if len(problems) != 1 else ''} cannot be used"
        raise DataError(what, problems=problems[:show], count=len(problems))
    if not documents:
        got = ", ".join(map(str, paths))
        raise DataError("there are no documents", got=got, fix=f"name files or a folder of {', '.join(KINDS)}")
    return documents


def iter_documents(
    paths: Sequence[Path], *, notice: Callable[[str], None] | None = None
) -> Iterator[Document | Problem]:
    """The documents one by one, with a Problem in place of each that cannot be read. Raises nothing for content."""
    for path in paths:
        if not path.is_dir():
            yield from _read(path, path.name)
            continue
        left_out = []
        try:
            files = sorted(file for file in path.rglob("*") if file.is_file())
        except OSError as error:
            yield Problem(str(path), 0, "", f"the folder cannot be read: {error}", "", "Check its permissions.")
            continue
        for file in files:
            name = file.relative_to(path)
            if any(part.startswith(".") for part in name.parts):
                continue
            if _ending(file) in KINDS:
                yield from _read(file, name.as_posix())
            else:
                left_out.append(name.as_posix())
        if left_out and notice is not None:
            more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
            notice(f"{path}: left out, as no kind of document: {', '.join(left_out[:5])}{more}")


def _ending(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
        return suffixes[-1] if suffixes and suffixes[-1] in ROWS else ""
    return suffixes[-1] if suffixes else ""


def _read(file: Path, name: str) -> Iterator[Document | Problem]:
    ending = _ending(file)
    if ending in ROWS:
        yield from _rows(file, name)
    elif ending == ".pdf":
        yield _pdf(file, name)
    elif ending in (*TEXTS, *PAGES):
        text = _text(file)
        if isinstance(text, Problem):
            yield text
        else:
            yield _page(file, name, text) if ending in PAGES else _plain(file, name, text)
    else:
        fix = f"Convert it to one of {', '.join(KINDS)}."
        what = "neither text, Markdown, HTML, PDF nor rows of documents"
        yield Unreadable(str(file), 0, "", what, shorten(file.suffix or file.name), fix)


def _text(file: Path) -> str | Problem:
    name = str(file)
    try:
        raw = file.read_bytes()
    except OSError as error:
        return Unreadable(name, 0, "", f"the file cannot be read: {error.strerror or error}", "", "Check the path.")
    if (encoding := wide_encoding(raw[:64])) is not None:
        fix = f"Save it as UTF-8: iconv -f {encoding} -t UTF-8 OLD > NEW"
        return Unreadable(name, 0, "", f"the file is {encoding}, not UTF-8", "", fix)
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = encoding_problem(name, line, raw.split(b"\n")[line - 1])
        return found or Unreadable(name, line, "", "the file is not UTF-8", "", "Save it as UTF-8.")


def _plain(file: Path, name: str, text: str) -> Document | Problem:
    if not text.strip():
        return _empty(file)
    heading = _HEADING.search(text) if _ending(file) in (".md", ".markdown") else None
    title = heading.group(1) if heading else Path(name).stem
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return Document(name, title, text, str(file), "line", tuple(zip(starts, range(1, len(starts) + 1), strict=True)))


def _page(file: Path, name: str, text: str) -> Document | Problem:
    page = read_html(text)
    if not page.blocks:
        return _empty(file)
    joined, marks = _joined(page.blocks)
    return Document(name, page.title or Path(name).stem, joined, str(file), "line", marks)


def _pdf(file: Path, name: str) -> Document | Problem:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError:
        fix = 'Install it: pip install "burnish[documents]", or convert the file to text.'
        return Unreadable(str(file), 0, "", "reading PDF needs the package pypdf", "", fix)
    try:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            return Unreadable(str(file), 0, "", "the PDF is locked with a password", "", "Save it without one.")
        pages = [(number, page.extract_text()) for number, page in enumerate(reader.pages, 1)]
        title = str((reader.metadata.title if reader.metadata else None) or "").strip()
    except (PyPdfError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # What a damaged file makes pypdf raise is not one kind of error.
        what = f"the PDF cannot be read: {error or type(error).__name__}"
        return Unreadable(str(file), 0, "", what, "", "Open and save it anew, or convert it to text.")
    shown = [(number, text) for number, text in pages if text.strip()]
    if not shown:
        fix = "Recognise its letters first, for example with ocrmypdf."
        return Unreadable(str(file), 0, "", "the PDF has no text: its pages may be pictures", "", fix)
    joined, marks = _joined(shown)
    return Document(name, title or Path(name).stem, joined, str(file), "page", marks)


def _rows(file: Path, name: str) -> Iterator[Document | Problem]:
    for row in read_rows(file):
        yield _row(file, name, row) if isinstance(row, Row) else row


def _row(file: Path, name: str, row: Row) -> Document | Problem:
    values = row.values
    field = next((field for field in TEXT_FIELDS if field in values), None)
    if field is None:
        fix = f"Call the column with the document's text one of {', '.join(TEXT_FIELDS)}."
        return Problem(str(file), row.line, "text", "the row has no text of a document", shorten(list(values)), fix)
    text = values[field]
    if not isinstance(text, str) or not text.strip():
        fix = "Write the document's text, or remove the row."
        return Problem(str(file), row.line, field, "a document's text must be text", shorten(text), fix)
    made = _named(values, ID_FIELDS) or f"{name}:{row.line}"
    return Document(made, _named(values, TITLE_FIELDS), text, str(file), "line", ((0, row.line),))


def _named(values: Mapping[str, Json], fields: Sequence[str]) -> str:
    found: Any = next((values[field] for field in fields if values.get(field) not in (None, "")), "")
    return str(found) if isinstance(found, str | int) else ""


def _joined(parts: Sequence[tuple[int, str]]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Parts as paragraphs of one text, with the offset and number of each."""
    marks, length = [], 0
    for number, part in parts:
        marks.append((length, number))
        length += len(part) + 2
    return "\n\n".join(part for _, part in parts), tuple(marks)


def _empty(file: Path) -> Problem:
    return Unreadable(str(file), 0, "", "the document is empty", "", "Remove it, or write its text.")
