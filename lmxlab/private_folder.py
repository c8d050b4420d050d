"""A folder of the user's own for what is built once: kernels, a renamed BLAS.

Code is loaded from it, so nobody else may be able to write there.
"""

import os
from pathlib import Path
import stat
import tempfile


def private_folder(*parts: str) -> Path:
    """Return a folder of this user's alone, from which code may be loaded.

    Args:
        *parts: Its path below ``LMXLAB_CACHE`` or, without that, ``~/.cache/lmxlab``;
            below the temporary directory where neither will do.

    Raises:
        PermissionError: If the folder belongs to, or can be written by, another user.

    Example:
        >>> private_folder("kernels").name
        'kernels'
    """
    base = os.environ.get("LMXLAB_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    root = Path(base) if base else Path(home, "lmxlab")
    try:
        folder = _checked(root.joinpath(*parts))
    except OSError:
        uid = os.getuid()
        root = Path(tempfile.gettempdir(), f"lmxlab-{uid}")
        folder = _checked(root.joinpath(*parts))
    return folder


def _checked(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.stat()
    if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{folder} can be written by another user")
    if os.statvfs(folder).f_flag & os.ST_NOEXEC or not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot hold code (read-only or noexec)")
    return folder
