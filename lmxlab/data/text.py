"""Real text, without a download unless you name one.

`python_docs` is the manual that every Python carries. `load_text` reads a file or an
address of yours and refuses what is not plain UTF-8 text, in words. `split_text` keeps
the end of a text for evaluation. No book is committed and none is fetched by default.
"""

import functools
import hashlib
import http.client
import os
from pathlib import Path
from pydoc_data import topics
import re
import tempfile
import textwrap
import urllib.parse
import urllib.request

_ASCII = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
        "\u2013": "-", "\u2014": "-", "\u2026": "...",
    }
)  # fmt: skip
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(\w[\w\s':.,-]*)(?<!\s)\1(?![\w*])")
_TIMEOUT_SECONDS = 30.0


@functools.cache
def python_docs() -> str:
    """Return the prose of Python's own manual, about 300 kB of English.

    The source is ``pydoc_data.topics``, the text behind ``help("while")``. A paragraph
    is kept if it ends like a sentence, which leaves out headings, tables, grammar and
    most code. Typographic quotes and dashes become ASCII, ``*emphasis*`` loses its
    stars, and the few paragraphs with other symbols go.

    The text differs between Python versions, so losses on it do not compare across
    them. It is under the PSF licence.

    Returns:
        Paragraphs separated by a blank line; printable ASCII and newlines only.

    Example:
        >>> text = python_docs()
        >>> text.isascii(), len(text) > 100_000
        (True, True)
    """
    prose = []
    for topic in topics.topics.values():
        for block in re.split(r"\n\s*\n", topic.translate(_ASCII)):
            paragraph = _EMPHASIS.sub(r"\2", textwrap.dedent(block).strip())
            if paragraph.endswith((".", "?", "!", ":")) and paragraph.isascii():
                prose.append(paragraph)
    return "\n\n".join(prose) + "\n"


def load_text(
    source: str | os.PathLike[str],
    *,
    max_bytes: int = 10_000_000,
    cache_dir: str | os.PathLike[str] | None = None,
) -> str:
    r"""Read a UTF-8 text from a file, or from an http(s) address that you give.

    A download is checked for type and size, and kept: the next call reads the copy.

    Args:
        source: A path, or an address that starts with ``http://`` or ``https://``.
        max_bytes: Refuse anything larger.
        cache_dir: Where downloads are kept; by default ``lmxlab/text`` below
            ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Returns:
        The text, with newlines as ``\n`` and without a byte order mark.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the text is empty, binary, not UTF-8 or too large, or the address
            does not answer with plain text.
        OSError: If the file cannot be read or the download fails.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "mine.txt")
        ...     _ = path.write_text("Once upon a time.")
        ...     load_text(path)
        'Once upon a time.'
    """
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be at least 1, got {max_bytes}")
    name = os.fspath(source)
    scheme = urllib.parse.urlsplit(name).scheme.lower() if "://" in name else ""
    if scheme in ("http", "https"):
        return _load_url(name, max_bytes, _cache_folder(cache_dir))
    if scheme:
        raise ValueError(
            f"source has scheme {scheme!r}: {name!r}; use a path, http:// or https://"
        )
    return _load_file(Path(name).expanduser(), name, max_bytes)


def split_text(text: str, eval_fraction: float = 0.1) -> tuple[str, str]:
    """Split a text into a part to train on and its end, to evaluate on.

    The end is kept in one piece: scattered pieces would sit between training
    neighbours that give them away.

    Args:
        text: At least 2 characters.
        eval_fraction: Share of the characters for evaluation, in (0, 1). Each part
            gets at least one character.

    Returns:
        ``(train, evaluation)``, which joined give the text.

    Raises:
        ValueError: If the text is too short or the fraction out of range.

    Example:
        >>> split_text("abcdefghij", 0.2)
        ('abcdefgh', 'ij')
    """
    if not 0 < eval_fraction < 1:
        raise ValueError(
            f"eval_fraction must be between 0 and 1, both excluded, got {eval_fraction}"
        )
    if len(text) < 2:
        raise ValueError(f"text has {len(text)} characters; splitting needs at least 2")
    held_out = min(max(round(len(text) * eval_fraction), 1), len(text) - 1)
    return text[:-held_out], text[-held_out:]


def _load_file(path: Path, name: str, max_bytes: int) -> str:
    if not path.exists():
        raise FileNotFoundError(
            f"no file {name!r} (looked in {path.absolute().parent}); check the path"
        )
    if not path.is_file():
        raise ValueError(f"source {name!r} is not a regular file; name a text file")
    with path.open("rb") as file:
        return _decode(file.read(max_bytes + 1), name, max_bytes)


def _load_url(url: str, max_bytes: int, folder: Path) -> str:
    copy = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.txt"
    if copy.exists():
        return _load_file(copy, url, max_bytes)
    data = _download(url, max_bytes)
    text = _decode(data, url, max_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    # Renamed into place, so that an interrupted write never passes for a copy.
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(data)
    os.replace(file.name, copy)
    return text


def _download(url: str, max_bytes: int) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "lmxlab"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            kind = response.headers.get_content_type()
            if not kind.startswith("text/") or kind == "text/html":
                raise ValueError(
                    f"{url} answers with {kind}, not plain text; give the address of "
                    f"the text itself, or download it and pass the file"
                )
            declared = response.headers.get("Content-Length")
            if declared is not None and int(declared) > max_bytes:
                raise _too_large(url, max_bytes)
            data: bytes = response.read(max_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"could not download {url}: {error}; check the address and the connection"
        ) from error
    if declared is not None and len(data) < int(declared):
        raise OSError(f"{url} broke off at {len(data)} of {declared} bytes; try again")
    return data


def _decode(data: bytes, name: str, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise _too_large(name, max_bytes)
    if b"\0" in data:
        raise ValueError(
            f"{name!r} is binary (a zero byte at {data.index(0)}); pass plain text"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name!r} is not UTF-8 (byte {error.start}); if it is text, convert it: "
            f"iconv -f latin1 -t utf-8"
        ) from error
    if not text.strip():
        raise ValueError(f"{name!r} is empty; pass a file with some text in it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _too_large(name: str, max_bytes: int) -> ValueError:
    return ValueError(
        f"{name!r} has more than max_bytes={max_bytes} bytes; raise max_bytes if it is "
        f"meant, or pass a shorter text"
    )


def _cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home, "lmxlab", "text")
