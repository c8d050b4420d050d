"""Each check of each topic tells right from wrong, and names the planted mistakes.

A new exercise needs no new test: it is found in its topic.
"""

from lmxlab.lab.exercises import assert_grades
from lmxlab.lab.topics import topics
import pytest

EXERCISES = [
    pytest.param(exercise, id=f"{topic}-{exercise.check.__name__}")
    for topic, exercises in topics().items()
    for exercise in exercises
]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_check_tells_right_from_wrong(exercise):
    assert_grades(exercise)


def test_every_topic_has_exercises_and_every_check_its_own_name():
    names = [param.id.partition("-")[2] for param in EXERCISES]
    assert len(set(names)) == len(names) >= 3 * len(topics()) > 0
