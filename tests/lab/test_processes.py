import json

from lmxlab.lab.processes import launch
import pytest

SUM = """
import json
import mlx.core as mx
group = mx.distributed.init()
total = mx.distributed.all_sum(mx.array(group.rank() + 1.0)).item()
if group.rank() == 0:
    print(json.dumps([group.size(), total]))
"""


@pytest.fixture
def script(tmp_path):
    def write(source):
        path = tmp_path / "script.py"
        path.write_text(source)
        return path

    return write


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_talk_to_each_other(processes, script):
    size, total = json.loads(launch(script(SUM), processes=processes))
    assert (size, total) == (processes, sum(range(1, processes + 1)))


def test_what_a_failed_process_said_is_in_the_error(script):
    with pytest.raises(RuntimeError, match="no data for you"):
        launch(script("raise SystemExit('no data for you')"), processes=1)
    with pytest.raises(RuntimeError, match=r"script\.py failed"):
        launch(script("raise ValueError('in both')"), processes=2)


def test_a_script_that_hangs_is_ended(script):
    with pytest.raises(TimeoutError, match=r"still running after 1 s in 1 processes"):
        launch(script("import time; time.sleep(60)"), processes=1, timeout=1)


def test_bad_arguments_are_named(script, tmp_path):
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        launch(script(SUM), processes=0)
    with pytest.raises(FileNotFoundError, match=r"there is no script .*gone\.py"):
        launch(tmp_path / "gone.py")
