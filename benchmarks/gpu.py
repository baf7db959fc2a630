"""The GPU, in one command of less than ten minutes: tests, layers of DCGAN against PyTorch, the ladder, whole steps.

    python benchmarks/gpu.py                            # prints all
    python benchmarks/gpu.py --write kernels/README.md  # and puts the tables between the file's gpu marks

Needs CuPy and a GPU; without PyTorch its columns stay empty. A layer's time is GPU time: the calls on several copies of
its arrays, together larger than the second-level cache, are captured as one graph, and its replays are timed by events.
PyTorch is treated alike, with TF32 on and cuDNN's own search, in both memory formats; its better one counts.
"""

import argparse
import math
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import kernels
from harness import check_close, torch, write_section
from scratchnet.device import find_cupy, why_unavailable
from stages import STAGES, captured
from stages import run as run_stages
from steps import STEPS

BATCH = 128
LAYERS = {  # (N, C, H, W) of the input, (K, C, KH, KW), options; of the discriminator, which the generator mirrors
    "512 > 100, 4x4": ((BATCH, 512, 4, 4), (100, 512, 4, 4), {}),
    "256 > 512, 4x4 stride 2": ((BATCH, 256, 8, 8), (512, 256, 4, 4), dict(stride=2, padding=1)),
    "128 > 256, 4x4 stride 2": ((BATCH, 128, 16, 16), (256, 128, 4, 4), dict(stride=2, padding=1)),
    "64 > 128, 4x4 stride 2": ((BATCH, 64, 32, 32), (128, 64, 4, 4), dict(stride=2, padding=1)),
    "1 > 64, 4x4 stride 2": ((BATCH, 1, 64, 64), (64, 1, 4, 4), dict(stride=2, padding=1)),
    "512 > 1, 4x4": ((BATCH, 512, 4, 4), (1, 512, 4, 4), {}),
    "64 > 64, 3x3": ((BATCH, 64, 32, 32), (64, 64, 3, 3), dict(padding=1)),
}
LADDER = {
    "naive": "a thread a number, operands from global memory",
    "shared": "a block's tiles in shared memory",
    "simt": "a thread's tile in registers",
    "async": "copies that pass no register, several under way",
    "tf32": "tensor cores",
}
LADDER_LAYER = "64 > 64, 3x3"
COLD_BYTES = 150e6  # of all copies of a call's arrays: three times the second-level cache of an H100
REPLAYS = 25
TOLERANCE = {"tf32": 2e-3}


def arrays_of(x_size, w_size, options):
    """Float32 input, weight and gradient of the output, and the exact results of the three kernels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(x_size, np.float32)
    w = rng.standard_normal(w_size, np.float32) / np.float32(math.sqrt(math.prod(w_size[1:])))
    height, width = kernels.geometry.conv_output_size(x_size[2:], w_size[2:], **options)
    return x, w, rng.standard_normal((x_size[0], w_size[0], height, width), np.float32)


def calls(x, w, g, options):
    """{direction: the call} of our kernels."""
    return {
        "forward": lambda: kernels.conv2d(x, w, **options),
        "input": lambda: kernels.conv2d_input(x.shape, w, g, **options),
        "weight": lambda: kernels.conv2d_weight(x, w.shape, g, **options),
    }


def torch_calls(x, w, g, options):
    stride, padding = [options.get("stride", 1)] * 2, [options.get("padding", 0)] * 2

    def backward(mask):
        return torch.ops.aten.convolution_backward(g, x, w, None, stride, padding, [1, 1], False, [0, 0], 1, mask)

    return {
        "forward": lambda: torch.conv2d(x, w, None, stride, padding),
        "input": lambda: backward([True, False, False])[0],
        "weight": lambda: backward([False, True, False])[1],
    }


def channels_last(array):
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def gpu_seconds(functions):
    """Median time of one of the functions, which run one after another in a captured graph of our own."""
    cupy = find_cupy()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        for function in functions:
            function()
        stream.synchronize()
        stream.begin_capture()
        kept = [function() for function in functions]  # their memory is the graph's as long as it is replayed
        graph = stream.end_capture()
        times = _replay(cupy.cuda.Event, lambda: graph.launch(stream), cupy.cuda.get_elapsed_time)
    del kept
    return times / len(functions)


def torch_seconds(functions):
    """The same for PyTorch."""
    for function in functions * 3:
        function()  # cuDNN searches
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [function() for function in functions]
    stream = torch.cuda.current_stream()
    with torch.cuda.stream(stream):
        event = lambda: torch.cuda.Event(enable_timing=True)  # noqa: E731
        times = _replay(event, graph.replay, lambda start, end: start.elapsed_time(end))
    del kept
    return times / len(functions)


def _replay(event, launch, elapsed):
    times = []
    for _ in range(REPLAYS):
        start, end = event(), event()
        start.record()
        launch()
        end.record()
        end.synchronize()
        times.append(elapsed(start, end) / 1e3)
    return statistics.median(times[3:])


def copies(*arrays):
    """How many copies of the arrays are together too large for the cache."""
    return min(max(math.ceil(COLD_BYTES / sum(array.nbytes for array in arrays)), 1), 16)


def measure_ours(direction, x, w, g, options, method=None, seconds=gpu_seconds):
    """Seconds of a call on cold arrays, after its result was compared with the strict one."""
    to = find_cupy().asarray
    sets = [tuple(map(to, (x, w, g))) for _ in range(copies(x, w, g))]
    functions = [calls(*arrays, options)[direction] for arrays in sets]
    with kernels.use("simt"):
        exact = find_cupy().asnumpy(calls(*(a.astype(np.float64) for a in sets[0]), options)[direction]())
    with kernels.use(method) if method else kernels.use():
        check_close(f"{direction} {method or ''}", find_cupy().asnumpy(functions[0]()), exact, TOLERANCE["tf32"])
        return seconds(functions)


def measure_torch(direction, x, w, g, options, memory_format):
    def to(array):
        return torch.from_numpy(np.ascontiguousarray(array)).cuda().contiguous(memory_format=memory_format)

    sets = [tuple(map(to, (x, w, g))) for _ in range(copies(x, w, g))]
    return torch_seconds([torch_calls(*arrays, options)[direction] for arrays in sets])


def layer_table(layers=LAYERS, seconds=gpu_seconds, peak=None, bandwidth=None):
    """Every layer in three directions: Markdown."""
    lines = [
        "| layer | direction | µs | TFLOP/s | of roofline | PyTorch NCHW, µs | channels last, µs | times as fast |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    ratios = []
    for name, (x_size, w_size, options) in layers.items():
        x, w, g = arrays_of(x_size, w_size, options)
        x, g = channels_last(x), channels_last(g)
        operations, moved = 2 * g.size * math.prod(w_size[1:]), x.nbytes + w.nbytes + g.nbytes
        for direction in ("forward", "input", "weight"):
            ours = measure_ours(direction, x, w, g, options, seconds=seconds)
            floor = max(operations / peak, moved / bandwidth) if peak else None
            cells = [f"{ours * 1e6:.1f}", f"{operations / ours / 1e12:.1f}", f"{floor / ours:.0%}" if floor else ""]
            if torch:
                formats = torch.contiguous_format, torch.channels_last
                theirs = [measure_torch(direction, x, w, g, options, f) for f in formats]
                ratios.append(min(theirs) / ours)
                cells += [f"{t * 1e6:.1f}" for t in theirs] + [f"{ratios[-1]:.2f}"]
            else:
                cells += [""] * 3
            lines.append(f"| {name} | {direction} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    if ratios:
        lines += ["", f"Geometric mean {statistics.geometric_mean(ratios):.2f}, least {min(ratios):.2f}."]
    return "\n".join(lines)


def ladder_table(layer=LAYERS[LADDER_LAYER], seconds=gpu_seconds, peak=None):
    """The steps of kernels/gpu/ladder.py on one layer, forward: Markdown."""
    x_size, w_size, options = layer
    x, w, g = arrays_of(x_size, w_size, options)
    x, g = channels_last(x), channels_last(g)
    lines = ["| step | idea | TFLOP/s | of peak |", "|---|---|---:|---:|"]
    for number, (step, idea) in enumerate(LADDER.items(), 1):
        rate = 2 * g.size * math.prod(w_size[1:]) / measure_ours("forward", x, w, g, options, step, seconds)
        share = f"{rate / peak:.0%}" if peak else ""
        lines.append(f"| {number} `{step}` | {idea} | {rate / 1e12:.3g} | {share} |")
    return "\n".join(lines)


def ceilings():
    """(FLOP/s of PyTorch's product of matrices in TF32, or None; bytes a second of a copy)."""
    cupy = find_cupy()
    source = cupy.ones(1 << 28, np.float32)
    bandwidth = 2 * source.nbytes / gpu_seconds([source.copy])
    if not torch:
        return None, bandwidth
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    a, b = (torch.randn(8192, 8192, device="cuda") for _ in range(2))
    return 2 * 8192**3 / torch_seconds([lambda: a @ b]), bandwidth


def step_table():
    """Whole training steps, as a program runs them, and the loss after some of them beside the CPU's: Markdown.

    "As graphs" are scratchnet's forward and backward passes, captured by `sn.cuda.capture`, with the optimisers'
    launches after them; the DCGAN's has one more forward pass of the generator than the step beside it.
    """
    lines = [
        "| step | batch | scratchnet, ms | as graphs, ms | PyTorch, ms | times as fast | as graphs | loss: GPU, CPU |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, (make, _) in STEPS.items():
        on_gpu, on_cpu = make("scratchnet", 8, "cuda"), make("scratchnet", 8)
        pair = [[step() for _ in range(5)][-1] for step in (on_gpu, on_cpu)]
        ours = wall_seconds(make("scratchnet", BATCH, "cuda"))
        theirs = wall_seconds(make("torch", BATCH, "cuda")) if torch else math.nan
        graphs = graph_seconds(STAGES[name])
        cells = [f"{seconds * 1e3:.2f}" for seconds in (ours, graphs, theirs)]
        cells += [f"{theirs / ours:.2f}", f"{theirs / graphs:.2f}", f"{pair[0]:.5f}, {pair[1]:.5f}"]
        lines.append(f"| {name} | {BATCH} | {' | '.join(cells)} |")
    return "\n".join(lines)


def graph_seconds(make):
    """Seconds of a step whose stages are captured; the last loss is read each time, as `wall_seconds` wants it."""
    parts = make("scratchnet", "cuda", BATCH)
    graphs = captured(parts)
    return wall_seconds(lambda: run_stages(parts, graphs)[-1].item())


def wall_seconds(step, times=30):
    """Median time of a step; it returns its loss, so nothing is under way when it ends."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[5:])


def run_tests():
    """What tests/gpu and compute-sanitizer say, a line each: Markdown."""
    pytest = [sys.executable, "-m", "pytest", "-n", "0", "-q"]
    runs = {"tests/gpu": [*pytest, "tests/gpu"]}
    if shutil.which("compute-sanitizer"):
        few = [*pytest, "tests/gpu/test_on_gpu.py", "-k", "integers and (dcgan or vectors)"]
        for tool in ("memcheck", "racecheck"):
            runs[tool] = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *few]
    lines = []
    for name, command in runs.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            said = (done.stdout.strip().splitlines() or ["nothing"])[-1]
            lines.append(f"* {name}: {'passed' if done.returncode == 0 else 'FAILED'}: {said}")
        except subprocess.TimeoutExpired:
            lines.append(f"* {name}: not done after 120 seconds")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def machine():
    """The GPU's name and the versions at work."""
    cupy = find_cupy()
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    theirs = f"PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}" if torch else "no PyTorch"
    return f"{name}, driver {cupy.cuda.runtime.driverGetVersion()}; CuPy {cupy.__version__}, {theirs}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the file's gpu marks")
    args = parser.parse_args()
    if find_cupy() is None:
        raise SystemExit(f"nothing is measured: {why_unavailable()}")
    if torch and not torch.cuda.is_available():
        raise SystemExit("this PyTorch sees no GPU: install one that does, or none")
    print(machine(), flush=True)
    tests = run_tests()
    peak, bandwidth = ceilings()
    ceiling = f"Copies reach {bandwidth / 1e12:.2f} TB/s"
    ceiling += f", torch.matmul {peak / 1e12:.0f} TFLOP/s in TF32." if peak else "."
    tables = ladder_table(peak=peak), layer_table(peak=peak, bandwidth=bandwidth), step_table()
    text = "\n\n".join([*tables, f"{machine()}. {ceiling}", tests])
    print(text)
    if args.write:
        write_section(args.write, "gpu", text)


if __name__ == "__main__":
    main()
