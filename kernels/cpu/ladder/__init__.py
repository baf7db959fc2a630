"""A ladder for readers: one convolution in numbered steps, each as fast as its idea goes and no faster.

    naive    step 1  seven loops, the definition                         naive.py
    im2col   step 2  copy every patch, then one matrix product           im2col.py
    tiled    step 3  loops again, over blocks that stay in cache         tiled.py
    direct   step 4  blocks of sums held in vector registers             ../conv.py
    winograd step 5  fewer multiplications, also for strides, by phases  ../winograd.py

docs/convolution.md explains the steps, benchmarks/ladder.py times them. Steps 1 to 3 run only when asked for by name,
`with kernels.use(conv2d="tiled"):`, and are compiled only then.
"""


def only_by_name(*args, **options):
    return "it is a step of the ladder, there to be read"


from . import im2col, naive, tiled
