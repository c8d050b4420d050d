"""The script that stands in for ``g++`` when MLX compiles a kernel on a Linux CPU.

MLX calls ``g++`` by name, with flags of its own; :mod:`lmxlab.runtime` puts this script
first on the PATH. It adds vector flags, precompiles MLX's header, and lets a kernel
appear only when it is whole.
"""

from pathlib import Path
import shlex

JIT_FLAGS = (
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-finline-limit=100000",  # or g++ calls exp and erf, and does not vectorise them
)
MLX_COMMAND = "-std=c++17 -O3 -Wall -fPIC -shared "
MLX_HEADER = "mlx/backend/cpu/compiled_preamble.h"


def wrapper_script(compiler: str, tmpdir: str, cache: Path) -> str:
    """Return the shell script that stands in for ``g++``.

    Most of a kernel's compilation is one large header of MLX's, so the script
    precompiles it at the first kernel, which takes seconds once; each kernel after that
    takes a fraction of what it took. A kernel appears under its name when it is whole:
    two notebooks may want the same one at the same time.

    Args:
        compiler: Path of the C++ compiler.
        tmpdir: Folder for the compiler's own temporary files.
        cache: Folder in which the precompiled header is kept.

    Returns:
        The text of the script.

    Example:
        >>> wrapper_script("/usr/bin/g++", "/tmp", Path("/cache")).splitlines()[0]
        '#!/bin/sh'
    """
    cxx, pch = shlex.quote(compiler), shlex.quote(str(cache / "pch"))
    flags = " ".join(JIT_FLAGS)
    return f"""#!/bin/sh
# Written by lmxlab: adds vector flags to the kernels that MLX compiles.
export TMPDIR={shlex.quote(tmpdir)}
case "$*" in
  "{MLX_COMMAND}-I "*) ;;
  *) exec {cxx} "$@" ;;
esac
header={MLX_HEADER}
done={pch}/$header.gch
if [ ! -e "$done" ] && [ ! -e {pch}/failed ] && [ -e "$7/$header" ]; then
  mkdir -p "$(dirname "$done")"
  if {cxx} -std=c++17 -O3 -w -fPIC {flags} -I "$7" -x c++-header "$7/$header" \\
      -o {pch}/$$.gch
  then mv {pch}/$$.gch "$done"
  else : > {pch}/failed
  fi
fi
built="${{10}}.$$"
{cxx} -I {pch} "$1" "$2" "$3" "$4" "$5" "$6" "$7" "$8" -o "$built" {flags} ||
  {{ code=$?; rm -f "$built"; exit $code; }}
exec mv -f "$built" "${{10}}"
"""
