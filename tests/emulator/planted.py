"""Plants one fault at a time in the CUDA sources, and says whether the emulated tests find it.

    python -m tests.emulator.planted                    # all faults, an hour on one core; writes FAULTS.md
    python -m tests.emulator.planted conv_tf32.cu       # those of some files; prints only
    python -m tests.emulator.planted --kept kept.jsonl  # goes on: outcomes are noted there, and not sought again
                                                        # unless sources changed

A fault is found when the tests of its file fail. In the sources of convolution each rule is planted once in each file
it fits, at the first place; barriers and bounds everywhere. memory_faults.py lists those of the other sources.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from kernels.gpu import module
from tests.emulator import memory_faults

FOLDER = Path(__file__).parent
ENVIRONMENT_VARIABLE = "SCRATCHNET_PLANTED"  # where conftest.py finds the sources with the fault
TABLE = FOLDER / "FAULTS.md"
SECONDS = 1800  # after which a kernel hangs: its file takes less than a minute on a core of its own

EVERYWHERE = {  # what is wrong: (pattern, replacement)
    "barrier removed": (r"__syncthreads\(\);", ";"),
    "bound one too wide": (
        r" < (conv\.columns|conv\.channels|depths|block\.rows|block\.last|size|count|classes|channels)\b",
        r" <= \1",
    ),
    "bound one too wide, negated": (r">= (block\.rows|size|conv\.columns|rows|channels|count)\b", r"> \1"),
}
ONCE = {
    "waits for one copy too few": (r"async_wait<(.+?)>\(", r"async_wait<\1 + 1>("),
    "copies not committed": (r"(?s)(async_wait<.*?)async_commit\(\);", r"\1"),
    "slice of another stage": (r"(step \+ STAGES - 1|step \+ 2)\)", "step)"),
    "stage off by one": (r"tiles\.(\w+)\[step % (STAGES|2|3)\]", r"tiles.\1[(step + 1) % \2]"),
    "rows of a fragment exchanged": (r"l % 2 \* 8", "l / 2 * 8"),
    "depths of a fragment exchanged": (r"of4 \+ l \* 4", "of4 * 2 + l"),
    "half of a fragment": (r"(half|l / 2) \* 8 \+ group", r"\1 * 4 + group"),
    "not rounded to TF32": (r"round_tf32\(", "("),
    "stores pairs at odd addresses": (r"pairs && first", "first"),
    "top edge": (r"h >= 0", "h >= -1"),
    "left edge": (r"w >= 0", "w >= -1"),
    "bottom edge": (r"h < conv\.h\.source", "h <= conv.h.source"),
    "right edge": (r"w < conv\.w\.source", "w <= conv.w.source"),
    "no dilation": (r"a\.dilation, a\.kernel", "1, a.kernel"),
    "dilation along one axis": (r"\* conv\.w\.dilation", "* conv.h.dilation"),
    "stride along one axis": (r"\* conv\.w\.stride", "* conv.h.stride"),
    "padding along one axis": (r"- conv\.w\.padding", "- conv.h.padding"),
    "no padding": (r"-a\.padding", "0"),
    "sign of the padding": (r"phase \+ a\.padding", "phase - a.padding"),
    "kernel elements side by side": (r"line\.tap_step = r - line\.tap", "line.tap_step = 1"),
    "taps one pixel apart": (r"line\.advance = .*?;", "line.advance = -1;"),
    "phases from the first pixel": (r"a\.target - phase, a\.stride\), phase,", "a.target - phase, a.stride), 0,"),
    "one phase": (r"index / phases_h % phases_w", "index % phases_w"),
    "pixels of the phase rounded down": (r"return a / b \+ \(a % b > 0\)", "return a / b"),
    "rows beyond the last": (r"return \{FAR_OUTSIDE, FAR_OUTSIDE, 0\};", "return {0, 0, 0};"),
    "rounding of the divisor": (r"/ divisor \+ 1\)", "/ divisor)"),
    "size of the divisor": (r"< divisor\) shift", "< divisor - 1) shift"),
    "image forgotten": (r"\(long long|static_cast<long long>\(image\)", "static_cast<long long>(0 * image)"),
    "group forgotten": (r"block\.group\) \* conv\.columns", "0 * block.group) * conv.columns"),
    "group of the source forgotten": (r"\+ block\.group\)", "+ 0)"),
    "bias of the first group": (r"bias\[block\.group \* conv\.columns \+ at\]", "bias[at]"),
    "activation left out": (r", negative_slope\)", ", 0 * negative_slope + 1)"),
    "infinity times a slope of 0": (r"\(slope == 0 \? T\(0\) : x \* slope\)", "x * slope"),
    "height for width": (r"\* conv\.w\.kernel \+ block", "* conv.h.kernel + block"),
    "tap of the other axis": (r"tap_w \* block\.w\.advance", "tap_w * block.h.advance"),
    "channel of the first slice": (r"\+ channel0 \+ depth", "+ depth"),
    "slice not cut at its end": (r"min\(pixels - block\.first, pixels_per_slice\)", "pixels_per_slice"),
    "last slice not added": (r"slice < slices", "slice + 1 < slices"),
    "first slice twice": (r"slice \* size \+ at", "slice / 2 * size + at"),
    "columns and channels exchanged": (r"at / columns % channels", "at % channels"),
    "sum starts at 1": (r"(?<=\w )sum = 0", "sum = 1"),
    "bank pads removed": (r"\[(ROWS|DEPTH) \+ [48]\]", r"[\1]"),
    "bank pad of the ladder removed": (r"\[17\]", "[16]"),
}
NOTHING = "a block too many, or a slice of the depth too many: it stores, or adds, nothing"
HARMLESS = {  # what survives: why no test can find it
    ("bank pads removed", "*"): "slower only: lanes that read a column meet one bank of shared memory",
    ("bank pad of the ladder removed", "*"): "slower only: lanes that read a column meet one bank of shared memory",
    ("bound one too wide, negated", "*"): NOTHING,
    ("bound one too wide", "ladder_shared.cu"): NOTHING,
    ("rows beyond the last", "conv.cuh"): "reads numbers that are there, for rows that are not stored",
    ("rows beyond the last", "conv_weight.cuh"): "reads numbers that are there, for rows that are not stored",
}


class Fault(NamedTuple):
    """`text` is the file's with the fault; `line` where it is."""

    file: str
    line: int
    what: str
    text: str

    @property
    def key(self):
        """A hash of all sources that the tests of the file compile, the fault in one of them."""
        others = () if self.file in memory_faults.FAULTS else set(sources()) - memory_faults.FAULTS.keys() - {self.file}
        texts = [self.file, self.text, *((module.FOLDER / other).read_text() for other in sorted(others))]
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()

    @property
    def reason_to_survive(self):
        return HARMLESS.get((self.what, self.file)) or HARMLESS.get((self.what, "*"))


def faults(file):
    """All faults to plant in a file of cuda/. Raises ValueError where one that is listed has not exactly one place."""
    text = (module.FOLDER / file).read_text()
    if file in memory_faults.FAULTS:
        for old, new in memory_faults.FAULTS[file]:
            before, *after = text.split(old)
            if len(after) != 1:
                raise ValueError(f"{file} must hold {old!r} once, and has it {len(after)} times")
            yield Fault(file, 1 + before.count("\n"), f"{old!r} becomes {new!r}", text.replace(old, new))
        return
    for rules, most in ((EVERYWHERE, None), (ONCE, 1)):
        for what, (pattern, replacement) in rules.items():
            matches = [m for m in re.finditer(pattern, text) if "//" not in text[: m.start()].rpartition("\n")[2]]
            for match in matches[:most]:
                wrong = text[: match.start()] + match.expand(replacement) + text[match.end() :]
                yield Fault(file, 1 + text.count("\n", 0, match.start()), what, wrong)


def sources():
    """The files of cuda/ in which faults are planted."""
    return sorted(path.name for path in module.FOLDER.iterdir() if path.name != "device.cuh")


def tests_of(file):
    """The tests that answer for a source, as pytest's arguments: a file, without those that run other sources."""
    if file in memory_faults.FAULTS:
        return [str(FOLDER / f"test_gpu_{Path(file).stem}.py")]
    if file.startswith("ladder"):
        return [str(FOLDER / "test_gpu_ladder.py"), "-k", "not tf32 and not simt"]
    others = next((other for one, other in (("tf32", "simt"), ("simt", "tf32")) if one in file), None)
    return [str(FOLDER / "test_gpu_conv.py"), *(["-k", f"not {others}"] if others else [])]


def find(fault):
    """The first test that fails with the fault planted, or None. Raises ValueError if the fault does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        planted = shutil.copytree(module.FOLDER, Path(folder, "cuda"))
        (planted / fault.file).write_text(fault.text)
        command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", *tests_of(fault.file)]
        environment = os.environ | {ENVIRONMENT_VARIABLE: str(planted)}
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                cwd=FOLDER.parents[1],
            )
        except subprocess.TimeoutExpired:
            return "it hangs"
    if "kernel.cpp" in done.stdout or done.returncode > 1:
        raise ValueError(
            f"{fault.file}:{fault.line}: {fault.what}: no valid source\n{done.stdout[-3000:]}{done.stderr}"
        )
    if done.returncode < 0:
        return "the process dies"
    found = re.search(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE)
    return found[1] if found else None


def notes(kept):
    """{a fault's key: what found it, or None} of a file of notes."""
    lines = kept.read_text().splitlines() if kept and kept.exists() else []
    return {note["key"]: note["found"] for note in map(json.loads, lines)}


def main(files, kept=None, table_only=False):
    known, outcomes = notes(kept), {}
    for file in files or sources():
        for fault in faults(file):
            if fault.key not in known and not table_only:
                known[fault.key] = find(fault)
                if kept:
                    with kept.open("a") as file_of_notes:
                        note = {"key": fault.key, "what": fault.what, "found": known[fault.key]}
                        file_of_notes.write(json.dumps(note) + "\n")
            if fault.key in known:
                outcomes[fault] = known[fault.key]
                print(f"{fault.file}:{fault.line}: {fault.what}: {outcomes[fault] or 'SURVIVES'}", flush=True)
    print(f"{sum(found is not None for found in outcomes.values())} of {len(outcomes)} faults found")
    if not files:
        TABLE.write_text(table(outcomes))


def table(outcomes):
    """Markdown of {fault: what found it, or None}; of every source, how many of its faults are among them."""
    lines, missing = [], 0
    for file in sources():
        listed, planted = len(list(faults(file))), [found for fault, found in outcomes.items() if fault.file == file]
        missing += listed - len(planted)
        lines.append(f"| `{file}` | {listed} | {len(planted)} | {sum(found is not None for found in planted)} |")
    survived = [fault for fault, found in outcomes.items() if found is None]
    reasons = [f"| `{f.file}`, line {f.line} | {f.what} | {f.reason_to_survive or 'NOT EXPLAINED'} |" for f in survived]
    left = [f"{missing} more have yet to be planted since a source changed.", ""] if missing else []
    found = len(outcomes) - len(survived)
    return "\n".join(
        [
            "# Planted faults",
            "",
            f"Written by `python -m tests.emulator.planted`: {found} of {len(outcomes)} faults are found.",
            "",
            *left,
            *("| source | faults | planted | found |", "|---|---:|---:|---:|", *lines, ""),
            *("| survivor | fault | why no test can find it |", "|---|---|---|", *reasons, ""),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="of kernels/gpu/cuda/ (default: all, for FAULTS.md)")
    parser.add_argument("--kept", type=Path, metavar="FILE", help="where outcomes are noted, and found")
    parser.add_argument("--table-only", action="store_true", help="plant nothing: FAULTS.md of what is noted")
    main(**vars(parser.parse_args()))
