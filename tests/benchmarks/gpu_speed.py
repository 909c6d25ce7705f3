"""What a GPU tells about this program, in one command: python tests/benchmarks/gpu_speed.py [options].

It is made for a GPU that is lent for a few minutes: the sections run in order of their worth, within ``--seconds``
(480). Each is guarded, and what is too long for the time left is skipped. At the end all tables are printed as one
Markdown document for docs/benchmarks.md. The exit code is 1 if anything failed.

Nothing is needed but the repository and the packages that it imports. ``--train CORPUS --langs de-en`` takes the
sentences of a corpus in place of made-up ones, ``--run RUN`` translates with a trained run in place of a new one. With
``--dry-run`` the same code runs on a CPU with tiny sizes, which finds its faults but measures nothing.
"""

import argparse
import faulthandler
import sys
import time
import warnings
from pathlib import Path

BEGAN = time.monotonic()  # importing PyTorch takes a part of the time

import torch  # noqa: E402  # after the clock

sys.path.append(str(Path(__file__).parents[2]))  # the package, if it is not installed

from gpu.report import Report, Section, stop_on_termination  # noqa: E402  # after the path

SECTIONS = [
    Section("The card", "machine.card"),
    Section("Training as it is", "today.training", needs=20, at_most=120),
    Section("The same updates twice", "today.exactness", needs=15, at_most=60),
    Section("Training, small: what could be built", "levers.small", needs=20, at_most=90),
    Section("Training, base: what could be built", "levers.base", needs=30, at_most=120),
    Section("The whole path of train", "translating.path", needs=40, at_most=120),
    Section("Translating as it is", "translating.today", needs=20, at_most=90),
    Section("Translating: what could be built", "search_levers.levers", needs=25, at_most=120),
    Section("Attention kernels", "kernels.attention", needs=10, at_most=45),
    Section("The output layer and its loss", "kernels.loss", needs=8, at_most=45),
    Section("Compiled layers", "levers.compiled", needs=60, at_most=150),
]
"""In order of worth: what is, then what could be built for training, then for translating."""


def main(words: list[str] | None = None, began: float | None = None) -> int:
    """Run the sections; the exit code.

    Args:
        words: of the command line; None: this program's.
        began: when the program started; None: now.
    """
    parser = argparse.ArgumentParser(description="Measure the program on a GPU.")
    parser.add_argument("--seconds", type=float, default=480.0, help="for everything (480)")
    parser.add_argument("--train", help="a corpus in place of made-up sentences; needs --langs")
    parser.add_argument("--langs", help="its languages, such as de-en")
    parser.add_argument("--run", help="a trained run to translate with")
    parser.add_argument("--only", help="sections whose titles hold this word")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on a CPU")
    options = parser.parse_args(words)
    if not options.dry_run and not torch.cuda.is_available():
        parser.error("no GPU that PyTorch's CUDA finds; --dry-run needs none")
    if bool(options.train) != bool(options.langs):
        parser.error("--train and --langs belong together")
    # PyTorch warns about what this program tries on purpose, such as kernels that refuse their inputs.
    warnings.simplefilter("ignore")
    given = {name: str(getattr(options, name)) for name in ("train", "langs", "run") if getattr(options, name)}
    device = torch.device("cpu" if options.dry_run else "cuda")
    report = Report(device, dry=options.dry_run, limit=options.seconds, words=given, began=began)
    chosen = [section for section in SECTIONS if (options.only or "").lower() in section.title.lower()]
    return report.run(chosen)


if __name__ == "__main__":
    faulthandler.enable()  # a crash inside CUDA names the line
    stop_on_termination()
    sys.exit(main(began=BEGAN))
