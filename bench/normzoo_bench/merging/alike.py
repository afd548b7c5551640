"""What run folders must share to become one, and the suite that asks all that they asked."""

from __future__ import annotations

from collections.abc import Sequence

from normzoo_bench.errors import UsageError
from normzoo_bench.merging.source import Source, named
from normzoo_suites import Suite, SuiteError
from normzoo_suites.momentum import check_batch_sizes

_APART = "`normzoo compare` shows them side by side"


def check_alike(sources: Sequence[Source]) -> None:
    """Refuse runs whose numbers do not belong into one report.

    Raises:
        UsageError: where suites, protocols, claims, tuning, or the sources of what is tuned differ.

    """
    first = sources[0]
    ours = first.run.suite.to_json()
    for other in sources[1:]:
        both, theirs = named([first, other]), other.run.suite.to_json()
        if ours["name"] != theirs["name"]:
            raise UsageError(
                f"{both} are runs of two suites, {ours['name']} and {theirs['name']}; merge runs of one, {_APART}"
            )
        if ours["protocol"] != theirs["protocol"]:
            raise UsageError(
                f"{both} were measured under the protocols {ours['protocol']} and {theirs['protocol']} of "
                f"{ours['name']}, and numbers of two protocols are not comparable; measure the older one again"
            )
        for part, why in (
            ("claims", "claims are made before the run"),
            ("select", "one report needs one way of tuning"),
        ):
            if ours[part] != theirs[part]:
                raise UsageError(f"{both} were measured under different {part}, and {why}; {_APART}")


def joined_sources(sources: Sequence[Source], prefer: Source | None) -> dict[str, str]:
    """Give by normalizer the hash of its source that all were planned with; the preferred folder's where they differ.

    Raises:
        UsageError: where they differ and no preferred folder says which.

    """
    joined: dict[str, tuple[Source, str]] = {}
    for source in sources:
        for normalizer, planned in source.planned.items():
            known, value = joined.setdefault(normalizer, (source, planned))
            if value == planned:
                continue
            if prefer is None or normalizer not in prefer.planned:
                raise UsageError(
                    f"{named([known, source])} were planned with different sources of {normalizer} ({value} and "
                    f"{planned}), and tuned with them; `normzoo run` in the folder of the old one plans it anew, or "
                    "--prefer FOLDER takes that folder's"
                )
            joined[normalizer] = (prefer, prefer.planned[normalizer])
    return {normalizer: value for normalizer, (_, value) in joined.items()}


def joined_suite(sources: Sequence[Source]) -> Suite:
    """Give the suite whose cells are all that the folders' suites ask: their grids, but those that lie in others.

    A grid stands where the first that lies in it stood, so that what one folder has more of stays where it was.

    Raises:
        UsageError: where the grids do not go together.

    """
    first = sources[0].run.suite
    suites: list[Suite] = []
    for source in sources:
        if source.run.suite.grids not in [suite.grids for suite in suites]:
            suites.append(source.run.suite)
    if len(suites) == 1:
        return first
    every = [
        (number, grid, {cell.id for cell in grid.cells(suite.protocol)})
        for number, suite in enumerate(suites)
        for grid in suite.grids
    ]
    places = [next(place for place, (_, _, inner) in enumerate(every) if inner <= ids) for _, _, ids in every]
    kept = [
        grid
        for _, (number, grid, ids) in sorted(zip(places, every, strict=True), key=lambda one: one[0])
        if not any(ids < theirs or (ids == theirs and other < number) for other, _, theirs in every if other != number)
    ]
    joined = first.model_copy(update={"grids": kept})
    try:
        joined.cells()  # complains of too many
        check_batch_sizes(joined)
    except SuiteError as error:
        raise UsageError(f"{named(sources)} cannot be joined: {error}") from None
    return joined
