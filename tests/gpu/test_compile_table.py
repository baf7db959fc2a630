"""Every kernel that launchers ask for compiles for real GPUs, spills nothing, and takes what the table says."""

import pytest

try:
    import compile_table
    import nvrtc

    nvrtc.library()
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

INSTANCES = compile_table.INSTANCES


@pytest.mark.parametrize("architecture", compile_table.ARCHITECTURES)
@pytest.mark.parametrize("files", INSTANCES, ids=lambda files: files if isinstance(files, str) else files[-1])
def test_takes_what_the_table_says_and_spills_nothing(files, architecture):
    found = compile_table.compiled(files, architecture)
    assert {name: used for name, used in found.items() if used.stack or used.spills} == {}
    version, table = compile_table.committed()
    if version != nvrtc.version():
        pytest.skip(f"the table was written with NVRTC {version}, and {nvrtc.version()} counts otherwise")
    column = compile_table.ARCHITECTURES.index(architecture)
    taken = {name: (used.registers, used.shared + INSTANCES[files][name]) for name, used in found.items()}
    assert taken == {name: (table[name][column], table[name][-1]) for name in found}


def test_the_table_holds_every_kernel_and_no_other():
    _, table = compile_table.committed()
    assert sorted(table) == sorted(name for names in INSTANCES.values() for name in names)


def test_every_source_is_compiled():
    inside = {path.name for path in compile_table.module.FOLDER.iterdir()} - {"device.cuh"}
    assert inside == {f for files in INSTANCES for f in ([files] if isinstance(files, str) else files)}


def test_a_source_that_does_not_compile_is_an_error_in_the_compilers_words():
    with pytest.raises(nvrtc.CompileError, match='identifier "missing" is undefined'):
        nvrtc.compile_kernels("__global__ void f(int* x) { *x = missing; }", ["f"], "sm_90")


def test_a_stack_and_spills_are_seen():
    stack = "__global__ void f(int* x) { int held[99]; for (int& h : held) h = *x++; x[0] = held[x[1]]; }"
    spills = """__global__ __launch_bounds__(1024, 2) void f(float* x) {
        float held[64];
        for (int i = 0; i < 64; i++) held[i] = x[i * 1024];
        __syncthreads();
        for (int i = 0; i < 64; i++) x[i * 1024] = held[63 - i];
    }"""
    assert nvrtc.compile_kernels(stack, ["f"], "sm_90")["f"].stack
    used = nvrtc.compile_kernels(spills, ["f"], "sm_90")["f"]
    assert (used.registers, bool(used.spills)) == (32, True)
