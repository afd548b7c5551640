"""One rank of a check with two processes: ``python -m normzoo.contract._worker FOLDER RANK``."""

from __future__ import annotations

import pickle
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from normzoo import plugins
from normzoo.contract._session import RANKS, inputs, session

PATIENCE = timedelta(seconds=60)  # with a rank that does not answer


def main(folder: Path, rank: int) -> None:
    """Run every card of the folder's work on this rank's samples; write ``CARD-RANK.pt``, or ``error-RANK.txt``."""
    torch.set_num_threads(1)
    work = pickle.loads((folder / "work.pickle").read_bytes())
    try:
        for path in work["plugins"]:
            plugins.load(path)
        dist.init_process_group(
            "gloo", init_method=(folder / "meeting").as_uri(), rank=rank, world_size=RANKS, timeout=PATIENCE
        )
        for index, pickled in enumerate(work["cards"]):
            card = pickle.loads(pickled)
            torch.save(session(card, inputs(card, rank)), folder / f"{index}-{rank}.pt")
            dist.barrier()  # the other processes may be ended once one has failed: by then all earlier cards are done
        dist.destroy_process_group()
    except Exception as error:  # told to the process that waits for it, which names the card
        first = str(error).partition("\n")[0]
        (folder / f"error-{rank}.txt").write_text(f"rank {rank} raised {type(error).__name__}: {first}")
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
