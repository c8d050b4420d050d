"""Files that are there whole or not at all.

A file is written beside its place, flushed to the disk, and then put there in one step:
a kill at any moment leaves the old file or the new one. A failure, such as a full disk,
leaves no half of it behind; only a kill does, and the next writer writes over that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path


@contextmanager
def draft(place: Path) -> Iterator[Path]:
    """Give a path to write to, which is removed again if that fails.

    A context manager: ``with draft(place) as path:``.

    Args:
        place: Where the draft lies. Who writes it moves it when it is whole.

    Yields:
        The same path, to the block.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> try:
        ...     with draft(folder / "half") as half:
        ...         _ = half.write_text("the first ha")
        ...         raise OSError("the disk is full")
        ... except OSError:
        ...     list(folder.iterdir())
        []
    """
    try:
        yield place
    except BaseException:
        place.unlink(missing_ok=True)
        raise


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a path to write to; what was written takes a file's place in one step.

    A context manager: ``with replacing(file) as path:``.

    Args:
        file: Its path, in a folder that exists.

    Yields:
        A path beside it, to the block. At the end of the block the step is made.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "notes")
        >>> with replacing(file) as beside:
        ...     _ = beside.write_text("new")
        >>> file.read_text(), [found.name for found in file.parent.iterdir()]
        ('new', ['notes'])
    """
    with draft(file.with_name(f"{file.name}.partial")) as beside:
        yield beside
        sync(beside)
        beside.replace(file)


def replace_file(file: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Args:
        file: Its path, in a folder that exists.
        content: All of it.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "notes")
        >>> replace_file(file, b"new")
        >>> file.read_text()
        'new'
    """
    with replacing(file) as beside:
        beside.write_bytes(content)


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk.

    Args:
        path: The file or the folder.

    Example:
        >>> sync(Path("."))
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
