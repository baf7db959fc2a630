"""The table of variational autoencoders on MNIST, from the logs of train_vae.py: what they reach at their last epoch.

    python benchmarks/autoencoders.py runs/mnist-vae-dense-0 runs/mnist-vae-plane-0 --write docs/generators.md

Exit code 1: a run misses what is wanted, bold in the table.
"""

import argparse
import sys
from math import inf
from pathlib import Path

from harness import write_section
from scratchnet.jsonlines import read

SCHEMA = "scratchnet.metrics/1"
COLUMNS = {"test_loss": ".2f", "test_reconstruction": ".2f", "test_kl": ".2f", "test_active": "d", "test_psnr": ".2f"}
# The least and the most that is wanted, by model: in nats, units and dB.
WANTED = {
    "dense": {"test_loss": (0, 106.5)},
    "plane": {"test_loss": (0, 160), "test_active": (2, 2)},
    "conv": {"test_active": (10, inf), "test_psnr": (18, inf)},
    "gaussian": {"test_active": (10, inf), "test_psnr": (18, inf)},
}
EPOCHS = {"dense": 10, "plane": 30}  # after which a model is judged; others after their last
HEAD = """\
| model | seed | epochs | -ELBO, nats | reconstruction | KL | active units | PSNR, dB |
|---|---:|---:|---:|---:|---:|---:|---:|
"""


def row(log: list[dict]) -> tuple[str, list[str]]:
    """A line of the table and the names of what is missed, of a log's header and rows, at the epoch that counts.

    Raises:
        ValueError: not a run of train_vae.py on MNIST's images as they are, or one without that epoch.
    """
    config, rows = log[0]["config"], [row for row in log[1:] if "epoch" in row]
    facts = {name: config.get(name) for name in ("trainer", "data", "image_size", "smoke")}
    if facts != {"trainer": "vae", "data": "mnist", "image_size": 28, "smoke": False} or not rows:
        raise ValueError(f"not the log of a whole run of train_vae.py on MNIST with a finished epoch: {config}")
    epoch, wanted = EPOCHS.get(config["model"], rows[-1]["epoch"]), WANTED.get(config["model"], {})
    last = next((row for row in rows if row["epoch"] == epoch), None)
    if last is None:
        raise ValueError(f"the {config['model']} model is judged after {epoch} epochs, this run had {len(rows)}")
    missed = [name for name, (least, most) in wanted.items() if not least <= last.get(name, -inf) <= most]
    cells = [format(last[name], spec) if name in last else "" for name, spec in COLUMNS.items()]
    cells = [f"**{cell}**" if name in missed else cell for name, cell in zip(COLUMNS, cells, strict=True)]
    return " | ".join([f"| {config['model']}", str(config["seed"]), str(last["epoch"]), *cells]) + " |", missed


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the file's marks")
    args = parser.parse_args(argv)
    lines, missed = zip(*(row(list(read(run / "metrics.jsonl", SCHEMA))) for run in args.runs), strict=True)
    table = HEAD + "\n".join(lines)
    print(table)
    if args.write:
        write_section(args.write, "autoencoders", table)
    return 1 if any(missed) else 0


if __name__ == "__main__":
    sys.exit(main())
