"""The fast path, seen from fresh processes: it is bound once, when a process starts."""

import functools
import json
import os
from pathlib import Path
import platform
import stat
import subprocess
import sys
import tempfile

from lmxlab import kernel_compiler, private_folder, runtime
from lmxlab.bench.plain import Worker
import pytest

linux_cpu = pytest.mark.skipif(
    not runtime.preparation().applies, reason="the fast path is for Linux on a CPU"
)
CHANGED = ("LMXLAB_BLAS", "LMXLAB_JIT", "LMXLAB_CACHE", "OPENBLAS_NUM_THREADS")

# What a process finds out about itself, printed as one line of JSON.
ABOUT = """
import dataclasses, json, os, pathlib, shutil, statistics, sys, tempfile, time, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import lmxlab
import mlx.core as mx
a = mx.random.normal((256, 256))
seconds = []
for _ in range(8):
    started = time.perf_counter()
    mx.eval(a @ a)
    seconds.append(time.perf_counter() - started)
about = dataclasses.asdict(lmxlab.runtime.preparation())
about["gflops"] = 2 * 256**3 / min(seconds) / 1e9
about["warnings"] = [str(w.message) for w in caught]
about["tempdir"] = tempfile.gettempdir()
about["g++"] = shutil.which("g++")
"""


def clean_environment(**changes: str) -> dict[str, str]:
    """The environment of a process that nobody has prepared."""
    environment = {k: v for k, v in os.environ.items() if k not in CHANGED}
    for saved, name in (("PATH", "PATH"), ("TMPDIR", "TMPDIR")):
        original = environment.pop(f"LMXLAB_ORIGINAL_{saved}", None)
        if original is not None:
            environment[name] = original
    return {**environment, "PYTHONPATH": str(Path(__file__).parents[1]), **changes}


@functools.cache
def about(code: str = ABOUT, **changes: str) -> dict:
    run = subprocess.run(
        [sys.executable, "-c", code + "\nprint(json.dumps(about))"],
        env=clean_environment(**changes),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def sgemm_owner_code() -> str:
    """Names the file whose cblas_sgemm the process finds first, as libmlx.so does."""
    return """
import ctypes
class Info(ctypes.Structure):
    _fields_ = [("file", ctypes.c_char_p), ("base", ctypes.c_void_p),
                ("name", ctypes.c_char_p), ("at", ctypes.c_void_p)]
dladdr = ctypes.CDLL(None).dladdr
dladdr.argtypes = [ctypes.c_void_p, ctypes.POINTER(Info)]
info = Info()
symbol = ctypes.cast(ctypes.CDLL(None).cblas_sgemm, ctypes.c_void_p)
dladdr(symbol, ctypes.byref(info))
about["owner"] = info.file.decode()
"""


# ------------------------------------------------------------------------------- BLAS


@linux_cpu
def test_a_fresh_process_computes_with_the_fast_blas():
    found = about(ABOUT + sgemm_owner_code())
    assert found["blas"] is not None
    assert found["notes"] == []
    assert found["warnings"] == []
    assert os.path.realpath(found["owner"]).endswith(Path(found["blas"]).name)
    off = about(LMXLAB_BLAS="off")
    assert found["gflops"] > 3 * off["gflops"]


@linux_cpu
def test_a_process_started_from_a_prepared_one_is_prepared_too():
    child = f"import lmxlab, os, subprocess, sys; CODE = {ABOUT!r}"
    child += "\nrun = [sys.executable, '-c', CODE + 'print(json.dumps(about))']"
    child += "\nimport json; about = json.loads(subprocess.check_output(run))"
    parent, found = about(), about(child)
    assert found["blas"] == parent["blas"]
    assert found["kernel_cache"] == parent["kernel_cache"]
    assert found["compiler"] == parent["compiler"]  # not the parent's wrapper
    assert found["tempdir"] == parent["tempdir"]
    assert found["notes"] == []


@linux_cpu
def test_the_blas_is_bound_under_pytest():
    assert runtime.preparation().blas is not None
    maps = Path("/proc/self/maps").read_text()
    assert os.path.basename(os.path.realpath(runtime.preparation().blas)) in maps


@linux_cpu
def test_blas_can_be_switched_off():
    found = about(LMXLAB_BLAS="off")
    assert found["blas"] is None
    assert any("LMXLAB_BLAS=off" in note for note in found["notes"])


@linux_cpu
def test_a_blas_that_is_no_file_is_named_and_another_is_found():
    found = about(LMXLAB_BLAS="/no/such/libblas.so")
    assert found["blas"] not in (None, "/no/such/libblas.so")
    assert any("/no/such/libblas.so" in note for note in found["notes"])


@linux_cpu
def test_mlx_imported_first_is_noticed():
    found = about("import mlx.core" + ABOUT)
    assert found["blas"] is None
    assert len(found["warnings"]) == 1
    assert "import lmxlab" in found["warnings"][0]
    assert found["warnings"][0] in found["notes"]


@linux_cpu
def test_openblas_num_threads_has_the_last_word():
    assert about(OPENBLAS_NUM_THREADS="1")["blas_threads"] == 1
    cores = len(os.sched_getaffinity(0))
    assert about()["blas_threads"] in (max(1, cores - 1), None)


# --------------------------------------------------------------------------- compiler


@linux_cpu
def test_jit_can_be_switched_off():
    found = about(LMXLAB_JIT="off")
    assert found["kernel_cache"] is None
    assert found["g++"] == found["compiler"]
    assert any("LMXLAB_JIT=off" in note for note in found["notes"])


@linux_cpu
def test_a_child_can_switch_off_what_its_parent_switched_on():
    child = subprocess.run(
        [sys.executable, "-c", ABOUT + "\nprint(json.dumps(about))"],
        env={**os.environ, "LMXLAB_JIT": "off"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(child.stdout.splitlines()[-1])
    assert found["g++"] == found["compiler"]


@linux_cpu
def test_without_a_compiler_the_import_survives_and_says_so(tmp_path):
    found = about(PATH=str(tmp_path), CXX="")
    assert found["compiler"] is None
    assert found["blas"] is not None
    assert any("No C++ compiler" in note for note in found["notes"])


@linux_cpu
def test_an_unwritable_cache_folder_is_survived(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the cache should be")
    found = about(LMXLAB_CACHE=str(blocked / "cache"), TMPDIR=str(tmp_path))
    assert found["blas"] is not None
    assert found["kernel_cache"].startswith(str(tmp_path / f"lmxlab-{os.getuid()}"))


@linux_cpu
def test_kernels_are_built_into_a_private_folder_beforehand(tmp_path):
    environment = clean_environment(LMXLAB_CACHE=str(tmp_path), LMXLAB_AHEAD="off")
    command = [sys.executable, "-m", "lmxlab.cli", "warm"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    (cache,) = (tmp_path / "kernels").iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert list(Path(cache, "pch").rglob("*.gch")), "the header was not precompiled"

    def kernels() -> set[str]:
        return {path.name for path in Path(cache, "mlx").rglob("*.so*")}

    before = kernels()
    assert len(before) > 20
    assert all(name.endswith(".so") for name in before), "drafts were left behind"
    with Worker(environment) as worker:
        worker.ask("first_step", case="story")
    # Its run is longer and its rate another; everything else was there.
    assert len(kernels() - before) <= 5


@linux_cpu
def test_a_folder_that_others_can_write_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="another user"):
        private_folder._checked(tmp_path)


@linux_cpu
def test_the_cache_is_keyed_by_processor_and_flags(monkeypatch, tmp_path):
    monkeypatch.setenv("LMXLAB_CACHE", str(tmp_path))
    monkeypatch.setenv("LMXLAB_ORIGINAL_TMPDIR", str(tmp_path))
    for name in ("PATH", "TMPDIR", "LMXLAB_ORIGINAL_PATH"):
        monkeypatch.setenv(name, os.environ[name])
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)

    def cache() -> str | None:
        done = runtime.Preparation(applies=True)
        runtime._bind_compiler(done)
        return done.kernel_cache

    keys = {cache(), cache()}
    assert len(keys) == 1
    monkeypatch.setattr(runtime, "_processor", lambda: "another")
    keys.add(cache())
    monkeypatch.setattr(runtime, "JIT_FLAGS", ("-O1",))
    keys.add(cache())
    assert len(keys) == 3


PRINTS = """#!/bin/sh
printf "%s\\n" "$TMPDIR" "$@"
while [ $# -gt 1 ]; do [ "$1" = -o ] && echo built > "$2"; shift; done
exit ${TEST_EXIT:-0}
"""


@pytest.fixture
def wrapper(tmp_path) -> list[str]:
    """The stand-in for g++, before a compiler that prints its arguments."""
    compiler = tmp_path / "compiler"
    compiler.write_text(PRINTS)
    compiler.chmod(0o700)
    text = kernel_compiler.wrapper_script(
        str(compiler), "/original/tmp", tmp_path / "cache"
    )
    script = tmp_path / "g++"
    script.write_text(text)
    return ["sh", str(script)]


def kernel_arguments(folder: Path) -> list[str]:
    """What MLX hands to the compiler."""
    files = ["-I", "/the include", f"{folder}/k.cpp", "-o", f"{folder}/k.so"]
    return [*kernel_compiler.MLX_COMMAND.split(), *files]


def lines(command: list[str]) -> list[str]:
    return subprocess.check_output(command, text=True).splitlines()


@linux_cpu
def test_the_wrapper_leaves_other_compilations_alone(wrapper):
    arguments = ["-O2", "-c", "my file.cpp"]
    assert lines([*wrapper, *arguments]) == ["/original/tmp", *arguments]


@linux_cpu
def test_the_wrapper_adds_its_flags_to_mlx_own_command_line(wrapper, tmp_path):
    arguments = kernel_arguments(tmp_path)
    printed = lines([*wrapper, *arguments])
    assert printed[0] == "/original/tmp"
    assert "\n".join(arguments) in "\n".join(printed)  # all of them, in their order
    assert printed[-len(kernel_compiler.JIT_FLAGS) :] == list(kernel_compiler.JIT_FLAGS)


@linux_cpu
def test_a_kernel_has_its_name_only_when_it_is_whole(wrapper, tmp_path):
    """Two processes may build the same one; half a library cannot be loaded."""
    printed = lines([*wrapper, *kernel_arguments(tmp_path)])
    draft = Path(printed[printed.index("-o") + 1])
    assert draft != tmp_path / "k.so"
    assert not draft.exists()
    assert (tmp_path / "k.so").read_text() == "built\n"
    (tmp_path / "k.so").unlink()
    failed = subprocess.run(
        [*wrapper, *kernel_arguments(tmp_path)], env={**os.environ, "TEST_EXIT": "3"}
    )
    assert failed.returncode == 3
    assert list(tmp_path.glob("k.so*")) == []


@linux_cpu
def test_python_keeps_its_temporary_folder(tmp_path):
    assert about(TMPDIR=str(tmp_path))["tempdir"] == str(tmp_path)


# ----------------------------------------------------------------------------- memory

NEW_PAGES = """
import lmxlab, mlx.core as mx, resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for times in (2, 20):
    before = faults()
    for _ in range(times):
        mx.eval(mx.ones(2**24))
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's mallopt")
@pytest.mark.parametrize(("switch", "kept"), [("", True), ("off", False)])
def test_freed_memory_is_used_again(switch, kept):
    environment = clean_environment(LMXLAB_MALLOC=switch)
    run = [sys.executable, "-c", NEW_PAGES]
    printed = subprocess.run(run, env=environment, capture_output=True, text=True)
    pages = 20 * 2**24 * 4 / os.sysconf("SC_PAGE_SIZE")
    assert (int(printed.stdout) < pages / 10) == kept, printed.stderr


# --------------------------------------------------------------------- other machines


def prepared_elsewhere(monkeypatch) -> runtime.Preparation:
    """What prepare() would do here, had it not run yet; it must change nothing."""
    monkeypatch.setattr(runtime, "_preparation", None)
    for step in ("_bind_blas", "_bind_compiler", "_keep_memory"):
        monkeypatch.setattr(runtime, step, lambda done: pytest.fail("it was applied"))
    return runtime.prepare()


def test_nothing_is_applied_on_a_mac(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert prepared_elsewhere(monkeypatch) == runtime.Preparation(applies=False)


def test_nothing_is_applied_on_cuda(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(runtime, "_installed", lambda name: name == "mlx-cuda-13")
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/nvidiactl")
    assert prepared_elsewhere(monkeypatch) == runtime.Preparation(applies=False)


def test_a_cuda_wheel_without_a_gpu_is_a_cpu(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(runtime, "_installed", lambda name: name == "mlx-cuda-13")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert runtime._linux_cpu()


def test_a_step_that_fails_is_a_note_and_no_error(monkeypatch):
    def torn(done: runtime.Preparation) -> None:
        raise OSError("cable torn")

    monkeypatch.setattr(runtime, "_preparation", None)
    monkeypatch.setattr(runtime, "_linux_cpu", lambda: True)
    monkeypatch.setattr(runtime, "_bind_blas", torn)
    monkeypatch.setattr(runtime, "_bind_compiler", lambda done: None)
    assert "cable torn" in runtime.prepare().notes[0]


def test_the_device_has_a_name():
    assert runtime.device_name()
    if runtime.preparation().applies:
        assert runtime.device_name().startswith("cpu (")
        assert platform.machine()


# ------------------------------------------------------------------ notebook's kernel


@linux_cpu
def test_it_holds_in_a_notebook_kernel(monkeypatch):
    manager = pytest.importorskip("jupyter_client.manager")
    code = ABOUT + sgemm_owner_code() + "print(json.dumps(about))"
    kernel = manager.KernelManager(kernel_name="python3")
    kernel.start_kernel(env=clean_environment(), stderr=subprocess.DEVNULL)
    client = kernel.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        printed: list[str] = []
        client.execute_interactive(
            code,
            timeout=60,
            output_hook=lambda m: printed.append(m["content"].get("text", str(m))),
        )
        text = [part for part in printed if part.startswith('{"applies')]
        assert text, printed
        found = json.loads(text[0])
        assert os.path.realpath(found["owner"]).endswith(Path(found["blas"]).name)
        assert found["kernel_cache"] == runtime.preparation().kernel_cache
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
