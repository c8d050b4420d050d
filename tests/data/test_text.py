"""Python's manual, files and downloads; what is not plain text is refused."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import threading

from hypothesis import given
from hypothesis import strategies as st
from lmxlab.data import load_text, python_docs, split_text
import pytest


def test_python_docs_is_a_lot_of_clean_prose():
    text = python_docs()
    assert len(text) > 200_000
    assert text.isascii()
    assert set(text) <= {"\n"} | {chr(i) for i in range(32, 127)}
    for markup in ("****", "====", "::=", "+---"):
        assert markup not in text
    assert '"*identifier"' in text  # syntax keeps its stars, emphasis does not
    assert "*rich comparison" not in text
    assert text.startswith("Assert statements are a convenient way")
    assert all(block.strip()[-1] in ".?!:" for block in text.split("\n\n"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain", "plain"),
        ("naïve ☺".encode(), "naïve ☺"),
        (b"\xef\xbb\xbfmarked", "marked"),
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
    ],
)
def test_a_file_is_read_as_utf8(tmp_path, data, expected):
    path = tmp_path / "mine.txt"
    path.write_bytes(data)
    assert load_text(path) == load_text(str(path)) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"GIF\0data", r"is binary \(a zero byte at 3\)"),
        (b"caf\xe9 au lait", r"is not UTF-8 \(byte 3\).*iconv"),
        (b"x" * 101, "more than max_bytes=100 bytes"),
    ],
)
def test_a_file_that_is_not_fit_is_refused(tmp_path, data, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load_text(path, max_bytes=100)


def test_the_size_limit_is_inclusive(tmp_path):
    path = tmp_path / "fits.txt"
    path.write_bytes(b"x" * 100)
    assert len(load_text(path, max_bytes=100)) == 100


def test_sources_that_are_no_text_file_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file 'nowhere\.txt'"):
        load_text("nowhere.txt")
    with pytest.raises(ValueError, match="not a regular file"):
        load_text(tmp_path)
    with pytest.raises(ValueError, match="scheme 'ftp'"):
        load_text("ftp://example.org/a.txt")
    with pytest.raises(ValueError, match="scheme 'file'"):
        load_text("file:///etc/hostname")
    with pytest.raises(ValueError, match="max_bytes must be at least 1, got 0"):
        load_text("a.txt", max_bytes=0)


PAGES = {
    "/story.txt": ("text/plain; charset=utf-8", "Ann and Zoë.".encode(), {}),
    "/page": ("text/html", b"<p>hello</p>", {}),
    "/image": ("image/png", b"\x89PNG", {}),
    "/large": ("text/plain", b"x" * 5000, {"Content-Length": "5000"}),
    "/large-undeclared": ("text/plain", b"x" * 5000, {}),
    "/torn": ("text/plain", b"half", {"Content-Length": "900"}),
    "/torn-chunk": ("text/plain", b"9\r\nhalf", {"Transfer-Encoding": "chunked"}),
    "/nul": ("text/plain", b"a\0b", {}),
}


@pytest.fixture
def site(monkeypatch):
    """A local web site; yields its address and the list of paths asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path not in PAGES:
                self.send_error(404)
                return
            kind, body, headers = PAGES[self.path]
            self.send_response(200)
            for name, value in {"Content-Type": kind, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Keep the test output clean."""

    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_happens_once_and_is_kept(site, tmp_path, monkeypatch):
    address, asked = site
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_text(f"{address}/story.txt") == "Ann and Zoë."
    assert load_text(f"{address}/story.txt") == "Ann and Zoë."
    assert asked == ["/story.txt"]
    assert len(list((tmp_path / "lmxlab" / "text").iterdir())) == 1
    with pytest.raises(ValueError, match="more than max_bytes=5 "):
        load_text(f"{address}/story.txt", max_bytes=5)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/page", ValueError, "answers with text/html, not plain text"),
        ("/image", ValueError, "answers with image/png"),
        ("/large", ValueError, "more than max_bytes=1000 bytes"),
        ("/large-undeclared", ValueError, "more than max_bytes=1000 bytes"),
        ("/torn", OSError, "broke off at 4 of 900 bytes"),
        ("/torn-chunk", OSError, "could not download .*IncompleteRead"),
        ("/nul", ValueError, "is binary"),
        ("/missing", OSError, "could not download .*404"),
    ],
)
def test_a_download_that_is_not_fit_is_refused_and_not_kept(
    site, tmp_path, path, error, message
):
    address, _ = site
    with pytest.raises(error, match=message):
        load_text(address + path, max_bytes=1000, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_does_not_answer_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(OSError, match=r"could not download .* check the address"):
        load_text("http://127.0.0.1:9/none.txt", cache_dir=tmp_path)


@given(st.text("ab \n", min_size=2), st.floats(0.001, 0.999))
def test_a_split_loses_nothing_and_leaves_no_part_empty(text, fraction):
    train, evaluation = split_text(text, fraction)
    assert train + evaluation == text
    assert train
    assert evaluation
    assert abs(len(evaluation) - fraction * len(text)) <= 1


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_fractions_that_leave_a_part_empty_are_refused(fraction):
    with pytest.raises(ValueError, match="eval_fraction must be between 0 and 1"):
        split_text("some text", fraction)


def test_a_text_too_short_to_split_is_refused():
    with pytest.raises(ValueError, match="text has 1 characters"):
        split_text("a")
