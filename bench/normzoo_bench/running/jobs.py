"""Which cells are measured together: those of one training, and seeds of one cell side by side on a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from normzoo_bench.running.worker import Job
from normzoo_suites import Cell
from normzoo_suites.settings import AccuracySettings, TrainingSettings


def jobs(cells: Iterable[Cell], together: int = 1) -> list[Job]:
    """Group cells, in the order of their first ones.

    Cells that differ only in what is read afterwards share one training. On CUDA up to ``together`` seeds that differ
    in nothing else train side by side.
    """
    trainings: dict[str, list[Cell]] = {}
    for cell in cells:
        trainings.setdefault(_training(cell), []).append(cell)
    return [tuple(cell for one in group for cell in one) for group in _grouped(list(trainings.values()), together)]


def _training(cell: Cell) -> str:
    """Name the training that a cell reads."""
    settings = cell.settings
    if not isinstance(settings, TrainingSettings):
        return cell.id
    return f"{cell.measure} {cell.protocol} {settings.model_dump_json(exclude=set(settings.READ_AFTERWARDS))}"


def _grouped(trainings: list[list[Cell]], together: int) -> Iterator[list[list[Cell]]]:
    alike: dict[str, list[list[Cell]]] = {}
    for cells in trainings:
        settings = cells[0].settings
        on_cuda = isinstance(settings, AccuracySettings) and settings.device == "cuda"
        apart = {*settings.READ_AFTERWARDS, "seed"}
        key = f"{cells[0].protocol} {settings.model_dump_json(exclude=apart)}" if on_cuda else ""
        alike.setdefault(key or cells[0].id, []).append(cells)
    for group in alike.values():
        yield from (group[start : start + together] for start in range(0, len(group), together))


def processes(cells: Sequence[Cell], of: Sequence[Cell]) -> list[list[Cell]]:
    """Tell timed cells apart by the fresh process that each is measured in, in an order that is as good as random.

    ``of`` are all cells of the plan, those that have been measured among them: what is repeated there has a process
    for each repeat, however many are left. It comes first, since claims rest on it; then, in the order given, what is
    measured once. An id is a hash over the repeat, too, so that by ids every process has another order.
    """
    experiments = Counter(_experiment(cell) for cell in of)
    repeated = [cell for cell in cells if experiments[_experiment(cell)] > 1]
    once = [cell for cell in cells if experiments[_experiment(cell)] == 1]
    numbers = sorted({cell.settings.replicate for cell in repeated})
    by_repeat = [[cell for cell in repeated if cell.settings.replicate == number] for number in numbers]
    return [*(sorted(group, key=lambda cell: cell.id) for group in by_repeat), *([once] if once else [])]


def _experiment(cell: Cell) -> str:
    """Name what repeats of one experiment have in common."""
    return f"{cell.measure} {cell.protocol} {cell.settings.model_dump_json(exclude={str(cell.settings.REPLICATES)})}"


def apart(job: Job) -> list[Job]:
    """Give a job's trainings as jobs of their own: what failed side by side may go well alone."""
    return jobs(job, together=1)
