"""What this process has on its machine: processes it has started, objects it keeps."""

import gc
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def children() -> set[str]:
    """The processes this one has started, where that can be seen."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text().split()}


def kept(kind: type[T]) -> list[T]:
    """Everything of a kind that there is; what only a cycle holds is there, too."""
    return [each for each in gc.get_objects() if isinstance(each, kind)]
