"""What each CUDA kernel takes of a GPU: `python tests/gpu/compile_table.py` writes kernels/gpu/RESOURCES.md.

The sources are compiled for real, on a machine without a GPU. So a change of registers is seen in review.
"""

import re
from pathlib import Path

import nvrtc

from kernels import gpu
from kernels.gpu import module

ARCHITECTURES = ("sm_80", "sm_90")
TABLE = Path(gpu.__file__).with_name("RESOURCES.md")
INSTANCES = {  # file of cuda/ (or a tuple of them): {each kernel that launchers ask for: the shared memory it gets}
    files: names for launchers in vars(gpu).values() for files, names in getattr(launchers, "INSTANCES", {}).items()
}
HEAD = """\
# What the kernels take of a GPU

Registers of a thread, on sm_80 (A100) and sm_90 (H100, H200), and shared memory of a block, in bytes. No kernel has a
stack, none spills. Written by `python tests/gpu/compile_table.py` with NVRTC {version}, since other versions count
otherwise.
"""


def compiled(files, architecture):
    """{kernel: Resources} of what launchers ask for of a file, or of a tuple of files."""
    text = module.source(*([files] if isinstance(files, str) else files))
    return nvrtc.compile_kernels(text, INSTANCES[files], architecture)


def committed():
    """(NVRTC's version, {kernel: registers on each architecture, then shared memory}) of the committed table."""
    text = TABLE.read_text()
    rows = re.findall(r"^\| `(.+?)` \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    return re.search(r"NVRTC (\d+\.\d+)", text)[1], {name: tuple(map(int, numbers)) for name, *numbers in rows}


def write():
    lines = [HEAD.format(version=nvrtc.version())]
    for files in sorted(INSTANCES, key=str):
        lines += [
            f"| {files if isinstance(files, str) else files[-1]} | {' | '.join(ARCHITECTURES)} | shared |",
            "|---|---:|---:|---:|",
        ]
        found = [compiled(files, architecture) for architecture in ARCHITECTURES]
        for name, shared in INSTANCES[files].items():
            registers = " | ".join(str(kernels[name].registers) for kernels in found)
            lines.append(f"| `{name}` | {registers} | {shared + found[0][name].shared} |")
        lines.append("")
    TABLE.write_text("\n".join(lines))


if __name__ == "__main__":
    write()
