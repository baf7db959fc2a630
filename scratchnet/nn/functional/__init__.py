"""PyTorch's ``torch.nn.functional``: the ops under its names and signatures, with every argument checked.

Beyond it, ``generative`` has the losses of GANs and VAEs.

``inplace`` is accepted everywhere PyTorch has it and means nothing: results are always new tensors.
"""

from scratchnet.errors import explain
from scratchnet.nn.functional.activation import (
    elu,
    gelu,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    prelu,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from scratchnet.nn.functional.conv import conv2d, conv_transpose2d, same_padding
from scratchnet.nn.functional.dropout import dropout, dropout2d
from scratchnet.nn.functional.generative import (
    bernoulli_nll,
    effective_beta,
    gan_discriminator_loss,
    gaussian_kl,
    gaussian_nll,
    gradient_penalty,
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_generator_loss,
    negative_elbo,
    non_saturating_generator_loss,
    r1_penalty,
    reparameterize,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
)
from scratchnet.nn.functional.image import fold, interpolate, pad, pixel_shuffle, pixel_unshuffle, unfold
from scratchnet.nn.functional.linear import cosine_similarity, embedding, linear, normalize, one_hot
from scratchnet.nn.functional.loss import (
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
from scratchnet.nn.functional.normalization import batch_norm, group_norm, instance_norm, layer_norm
from scratchnet.nn.functional.pooling import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    max_pool2d,
    max_unpool2d,
)

explain(globals(), but=("gradient_penalty", "r1_penalty"))
