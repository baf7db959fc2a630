"""Measures rows of gpu.py's tables, in a process of its own: python benchmarks/gpu_rows.py PART ROW ...

Each row is a line of JSON on stdout as soon as it is there. The first that fails ends the process, since after an error
on the GPU nothing works in it any more; gpu.py starts another for the rows that are left.

A layer's time is GPU time: the calls on several copies of its arrays, together larger than the second-level cache, are
captured as one graph, and its replays are timed by events. PyTorch is treated alike, with TF32 on and cuDNN's own
search.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import kernels
from harness import channels_last, check_close, torch
from scratchnet.device import find_cupy
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
LADDER_LAYER = "64 > 64, 3x3"
DIRECTIONS = ("forward", "input", "weight")
COLD_BYTES = 150e6  # of all copies of a call's arrays: more than twice the second-level cache of an H200
REPLAYS = 25
TOLERANCE = 2e-3  # of TF32, relative to the largest value
TRAININGS = {  # the example's options, and which numbers of its last row are compared
    "cnn": (["train_cnn.py", "--epochs", "2"], ("train_loss", "test_loss")),
    "dcgan": (["train_gan.py", "--epochs", "1"], ("d_loss", "g_loss")),
    "vae": (["train_vae.py", "--model", "conv", "--epochs", "2"], ("train_loss", "test_loss")),
}
EXAMPLES = Path(__file__).parents[1] / "examples"


def arrays_of(x_size, w_size, options):
    """Float32 input, weight and gradient of the output, images channels last."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(x_size, np.float32)
    w = rng.standard_normal(w_size, np.float32) / np.float32(math.sqrt(math.prod(w_size[1:])))
    height, width = kernels.geometry.conv_output_size(x_size[2:], w_size[2:], **options)
    return channels_last(x), w, channels_last(rng.standard_normal((x_size[0], w_size[0], height, width), np.float32))


def work(layer):
    """(multiply-adds times two, bytes moved at least) of a layer, equal in all directions."""
    x_size, w_size, options = LAYERS[layer]
    height, width = kernels.geometry.conv_output_size(x_size[2:], w_size[2:], **options)
    outputs = x_size[0] * w_size[0] * height * width
    return 2 * outputs * math.prod(w_size[1:]), 4 * (math.prod(x_size) + math.prod(w_size) + outputs)


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


def gpu_seconds(functions):
    """Median time of one of the functions, which run one after another in a captured graph of our own."""
    cupy = find_cupy()
    cupy.cuda.Device().synchronize()
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


def measure_ours(layer, direction, method=None):
    """Seconds of a call on cold arrays, after its result was compared with that in float64."""
    x_size, w_size, options = LAYERS[layer]
    arrays = arrays_of(x_size, w_size, options)
    to, back = find_cupy().asarray, find_cupy().asnumpy
    sets = [tuple(map(to, arrays)) for _ in range(copies(*arrays))]
    functions = [calls(*given, options)[direction] for given in sets]
    with kernels.use("simt"):
        exact = back(calls(*(a.astype(np.float64) for a in sets[0]), options)[direction]())
    with kernels.use(method) if method else kernels.use():
        check_close(f"{direction} {method or ''}", back(functions[0]()), exact, TOLERANCE)
        return gpu_seconds(functions)


def measure_torch(layer, direction, memory_format):
    x_size, w_size, options = LAYERS[layer]
    arrays = arrays_of(x_size, w_size, options)

    def to(array):
        return torch.from_numpy(np.ascontiguousarray(array)).cuda().contiguous(memory_format=memory_format)

    sets = [tuple(map(to, arrays)) for _ in range(copies(*arrays))]
    return torch_seconds([torch_calls(*given, options)[direction] for given in sets])


def ceiling(row):
    """Bytes a second of a copy, or FLOP/s of PyTorch's product of matrices in TF32."""
    if row == "bandwidth":
        source = find_cupy().ones(1 << 28, np.float32)
        return {"rate": 2 * source.nbytes / gpu_seconds([source.copy])}
    a, b = (torch.randn(8192, 8192, device="cuda") for _ in range(2))
    return {"rate": 2 * 8192**3 / torch_seconds([lambda: a @ b])}


def layer(row):
    name, direction, who = row.split(" | ")
    if who == "scratchnet":
        return {"seconds": measure_ours(name, direction)}
    formats = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
    return {"seconds": measure_torch(name, direction, formats[who])}


def ladder(row):
    return {"seconds": measure_ours(LADDER_LAYER, "forward", row)}


def step(row):
    """Of a whole training step: seconds as a program runs it, or the losses after five steps on the GPU and the CPU."""
    name, what = row.split(" | ")
    make, _ = STEPS[name]
    if what == "losses":
        on_gpu, on_cpu = (
            [each() for _ in range(5)][-1] for each in (make("scratchnet", 8, "cuda"), make("scratchnet", 8))
        )
        return {"losses": (on_gpu, on_cpu)}
    if what == "as graphs":
        return {"seconds": graph_seconds(STAGES[name])}
    return {"seconds": wall_seconds(make({"eager": "scratchnet", "PyTorch": "torch"}[what], BATCH, "cuda"))}


def graph_seconds(make):
    """Seconds of a step whose stages are captured; the last loss is read each time, as `wall_seconds` wants it."""
    parts = make("cuda", BATCH)
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


def training(row):
    """The numbers of an example's last epoch on the GPU (in strict float32) and on the CPU, of few images."""
    (script, *options), names = TRAININGS[row]
    last = {}
    for device in ("cpu", "cuda"):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, EXAMPLES / script, *options, "--smoke", "--quiet", "--device", device]
            environment = os.environ | {"SCRATCHNET_KERNELS": "simt"}
            done = subprocess.run(
                [*command, "--out", folder], env=environment, capture_output=True, text=True, check=False
            )
            log = Path(folder, "metrics.jsonl")
            rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        epochs = [each for each in rows if "epoch" in each]
        if not epochs:
            raise RuntimeError(f"{script} on {device}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
        last[device] = epochs[-1]
    return {name: (last["cuda"][name], last["cpu"][name]) for name in names}


def profile(row):
    """[kernel, calls, seconds] of the kernels that a training step spends most of its GPU time in."""
    from torch.profiler import ProfilerActivity, profile  # CUPTI sees the whole process, CuPy's launches too

    once = STEPS[row][0]("scratchnet", BATCH, "cuda")
    for _ in range(3):
        once()
    torch.cuda.init()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        once()
        torch.cuda.synchronize()
    kinds = [(each.key, each.count, each.self_device_time_total / 1e6) for each in found.key_averages()]
    return {"kernels": sorted(kinds, key=lambda kind: -kind[2])}


PARTS = {
    "ceilings": ceiling,
    "layers": layer,
    "ladder": ladder,
    "steps": step,
    "trainings": training,
    "profile": profile,
}


def main(part, rows):
    if torch and torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    for row in rows:
        print(json.dumps({"row": row, **PARTS[part](row)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
