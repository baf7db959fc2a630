"""Every differentiable function, each declared once; ``OPS`` holds their records by name."""

from scratchnet.errors import explain
from scratchnet.ops.activations import (
    elu,
    gelu,
    hardtanh,
    leaky_relu,
    leaky_relu_backward,
    logsigmoid,
    prelu,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    softplus,
    tanh,
    tanh_backward,
)
from scratchnet.ops.conv import conv2d, conv2d_bias, conv2d_input, conv2d_leaky_relu, conv2d_weight, fold, unfold
from scratchnet.ops.elementwise import (
    abs,
    add,
    astype,
    clamp,
    cos,
    div,
    equal,
    erf,
    exp,
    expm1,
    greater,
    greater_equal,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    mul,
    neg,
    not_equal,
    pow,
    sign,
    sin,
    sqrt,
    square,
    sub,
    where,
)
from scratchnet.ops.indexing import embedding, gather, getitem, index_put, masked_fill, pad, scatter_add
from scratchnet.ops.interpolate import interpolate, pixel_shuffle, pixel_unshuffle
from scratchnet.ops.linalg import einsum, matmul
from scratchnet.ops.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    gaussian_nll_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from scratchnet.ops.norm import batch_norm, group_norm, instance_norm, layer_norm
from scratchnet.ops.pool import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    avg_pool2d_input,
    gather2d,
    gather2d_input,
    max_pool2d,
    max_pool2d_input,
)
from scratchnet.ops.reductions import (
    amax,
    amin,
    argmax,
    argmin,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    softmax,
    sum,
    var,
)
from scratchnet.ops.registry import OPS
from scratchnet.ops.shape import (
    alias,
    cat,
    chunk,
    clone,
    expand,
    flatten,
    flip,
    permute,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    sum_to,
    transpose,
    unbind,
    unsqueeze,
)

explain(globals())
