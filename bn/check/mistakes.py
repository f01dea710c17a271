"""The mistakes that bn.check can name: a sentence for each, and the page that explains it.

``formula`` and ``diagnosis`` tell which of them gives the numbers that came.
"""

from dataclasses import dataclass

TRANSFORM = "book/transform.html"
BACKWARD = "book/backward.html"
ALGORITHM = "notebooks/transform.html"
PYTORCH = "notebooks/from-numpy-to-pytorch.html"
API = "book/api.html"


@dataclass(frozen=True)
class Mistake:
    """A sentence that tells what was done, and the page of the book (without its domain)."""

    sentence: str
    page: str


def _on(page: str, **sentences: str) -> dict[str, Mistake]:
    return {name.replace("_", "-"): Mistake(sentence, page) for name, sentence in sentences.items()}


# -- forward, in training and in inference
_TRANSFORM = _on(
    TRANSFORM,
    statistics_over_batch_only="Mean and variance are taken over the batch axis alone, so each "
    "position has its own. Average over every axis but the channels'.",
    statistics_over_positions_only="Mean and variance are taken over the positions of each "
    "example alone, without the batch axis: that is instance normalization.",
    statistics_over_everything="One mean and one variance are taken over the whole array. Each "
    "channel needs its own.",
    statistics_per_example="Mean and variance are taken per example, over its features: that is "
    "layer normalization. Average over the batch.",
    statistics_per_position="Mean and variance are taken over the channels of each position alone: "
    "that is layer normalization. Average over the batch and the positions.",
    wrong_channel_axis="The statistics keep another axis than the channels'. With channels last, "
    "(N, H, W, C), the axis to keep is the last, not 1.",
    gamma_along_last_axis="The statistics keep axis 1, while gamma and beta, of shape (C,), act "
    "along the last axis. Give them the shape (1, C, 1, 1).",
    mean_not_subtracted="The mean is not subtracted before dividing.",
    bessel_in_normalization="The variance that normalizes divides by m - 1. It describes these m "
    "values, so it divides by m (in PyTorch: unbiased=False); m/(m-1) belongs in the running "
    "variance only.",
    variance_over_m_plus_1="The variance divides by m + 1 instead of m.",
    variance_shrunk="The variance is multiplied by (m-1)/m.",
    variance_not_divided="The variance is the sum of squares, not divided by m.",
    variance_not_centred="The variance is the mean of x squared; the mean was not subtracted "
    "before squaring.",
    variance_over_batch_size="The sum of squares is divided by the batch size N. With positions "
    "there are m = N·H·W values per channel.",
    variance_over_everything="The variance is taken over the whole array, one for all channels.",
    variance_around_positions="The variance is taken around the mean of each position, over the "
    "batch, and averaged. It belongs around the mean of the channel.",
    eps_outside_root="eps is added to the standard deviation, outside the root; it belongs to the "
    "variance: sqrt(var + eps).",
    eps_missing="There is no eps under the root: a constant channel divides by 0.",
    eps_squared="eps is squared under the root.",
    eps_not_the_given="Another eps is used than the one given or declared: a number written into "
    "the formula?",
    root_missing="It divides by the variance: the square root is missing.",
    multiplied_by_std="It multiplies by the standard deviation instead of dividing by it.",
    gamma_beta_swapped="gamma and beta are swapped: gamma scales, beta shifts.",
    gamma_missing="gamma is not applied.",
    beta_missing="beta is not added.",
    beta_scaled="beta is added before gamma multiplies.",
    beta_subtracted="beta is subtracted.",
    gamma_plus_one="The scale is 1 + gamma instead of gamma.",
    running_statistics_in_training="Training normalizes with the running statistics; it has to "
    "use those of the mini-batch.",
    running_mean_in_training="Training subtracts the running mean; it has to subtract that of the "
    "mini-batch.",
    running_var_in_training="Training divides by the running variance; it has to use that of the "
    "mini-batch.",
    batch_statistics_in_inference="Inference normalizes with the statistics of the batch; it has "
    "to use the running ones, so that an output does not depend on its neighbours.",
    batch_mean_in_inference="Inference subtracts the mean of the batch instead of the running one.",
    batch_var_in_inference="Inference divides by the variance of the batch instead of the running "
    "one.",
    statistics_updated_in_inference="Inference moves the running statistics; only training may.",
    running_statistics_not_updated="Training leaves the running statistics as they were.",
    momentum_ignored="The running statistics move by another weight than the declared momentum, "
    "read in either convention.",
    unbiased_ignored="The running variance is of the other kind than the attribute `unbiased` "
    "says: True is m/(m-1)·var, False is var.",
    average_off_by_one="The average of all batches counts one too many: the first batch must weigh "
    "1, the second 1/2.",
    momentum_mixed="In one running statistic momentum is the weight of the new value, in the "
    "other that of the old one.",
    running_mean_only="Only the running mean moves; the running variance stays.",
    running_var_only="Only the running variance moves; the running mean stays.",
    running_var_stores_std="The running variance is fed with standard deviations: the square is "
    "missing.",
    running_var_stores_inverse="The running variance is fed with 1/sqrt(var + eps).",
    running_var_bessel_inverted="The running variance is fed with (m-1)/m·var; unbiased is "
    "m/(m-1)·var.",
    running_var_over_m_plus_1="The running variance is fed with m/(m+1)·var: a sum divided by "
    "m + 1 instead of m - 1.",
    running_var_bessel_twice="The running variance is fed with (m/(m-1))²·var: the correction is "
    "applied twice.",
    running_var_over_batch_size="The correction of the running variance counts the batch size N: "
    "N/(N-1). With positions there are m = N·H·W values per channel: m/(m-1).",
    running_var_not_divided="The running variance is fed with the sum of squares, not divided "
    "by m.",
    running_var_not_centred="The running variance is fed with the mean of x squared.",
    running_var_with_eps="The running variance is fed with var + eps; eps would be counted twice "
    "in inference.",
    running_mean_not_divided="The running mean is fed with the sum, not the mean.",
    running_mean_over_batch_size="The running mean is fed with a sum divided by the batch size N. "
    "With positions there are m = N·H·W values per channel.",
    running_statistics_swapped="The running mean is fed with the variance and the running "
    "variance with the mean.",
    running_sum="The running statistics are sums: the old value is not weighted down.",
    running_statistics_replaced="The running statistics are those of the last batch: nothing is "
    "averaged.",
    running_statistics_wrong_axes="The running statistics are taken over the whole array, not "
    "over all axes but the channels'.",
    running_var_around_running_mean="The variance that enters the running one is taken around the "
    "running mean, not around the mean of the mini-batch.",
    nan_for_batch_of_one="One value per channel has no variance: training on it returns NaN, or "
    "leaves it in the running statistics. Refuse it with a clear error: m - 1 is 0.",
    unclear_error_for_batch_of_one="One value per channel stops training, by accident: the error "
    "does not say why. Check m before, and raise ValueError with the shape.",
    batch_of_one_refused_in_inference="Inference refuses a single example, although its "
    "statistics are known.",
    constant_channel="A channel whose values are all equal must come out as beta.",
    only_two_axes="Made for (N, C), it seems. Other shapes are accepted, and each position gets "
    "statistics of its own: check x.ndim, or average over every axis but the channels'.",
)

# -- backward
_BACKWARD = _on(
    BACKWARD,
    statistics_as_constants="The statistics are treated as constants: both mean terms are "
    "missing, as they should be in inference only. Detached, or in torch.no_grad()?",
    mean_as_constant="The term with the mean of dy is missing: the mean is treated as a constant. "
    "Detached?",
    variance_as_constant="The term with x_hat is missing: the variance is treated as a constant. "
    "Detached?",
    gamma_missing_in_dx="gamma is left out of dx.",
    inv_std_missing_in_dx="1/sqrt(var + eps) is left out of dx.",
    inv_std_twice_in_dx="1/sqrt(var + eps) is multiplied twice in dx.",
    divided_by_inv_std_in_dx="dx is divided by 1/sqrt(var + eps) instead of multiplied.",
    eps_missing_in_dx="eps is left out of the backward pass.",
    sign_in_dx="A mean term of dx has the wrong sign.",
    negative_dx="dx has the wrong sign.",
    sums_not_divided_in_dx="The sums in dx are not divided by m.",
    sums_over_m_minus_1_in_dx="The sums in dx are divided by m - 1 instead of m.",
    sums_over_batch_size_in_dx="The sums in dx are divided by the batch size N. With positions "
    "there are m = N·H·W values per channel.",
    sums_over_wrong_axes_in_dx="The means in dx are taken over the batch axis alone, not over "
    "the positions.",
    x_hat_not_normalized_in_dx="The last term of dx uses x - mean where x_hat belongs.",
    x_hat_missing_in_dx="x_hat is left out of its own term in dx.",
    x_instead_of_x_hat_in_dx="The last term of dx uses x where x_hat belongs.",
    y_instead_of_x_hat_in_dx="The last term of dx uses y where x_hat belongs.",
    half_missing_in_dx="The derivative of the root lacks its factor of a half: the last term of "
    "dx is twice as large.",
    two_missing_in_dx="The derivative of the square lacks its factor 2: the last term of dx is "
    "half as large.",
    dx_divided_by_m="dx is divided by m.",
    dx_times_m="dx is multiplied by m: the closed form has a factor 1/m.",
    no_dx="No gradient arrives at x.",
    dgamma_without_x_hat="dgamma lacks x_hat: it is the sum of dy.",
    dgamma_with_x="dgamma multiplies dy by x instead of x_hat.",
    dgamma_with_centred="dgamma multiplies dy by x - mean instead of x_hat.",
    dgamma_with_y="dgamma multiplies dy by y instead of x_hat.",
    dgamma_averaged="dgamma is a mean over the batch where it must be a sum.",
    dgamma_not_summed="dgamma is not summed over all axes but the channels'.",
    dgamma_over_batch_only="dgamma is summed over the batch alone, and the positions are lost.",
    dgamma_with_gamma="dgamma holds an extra factor gamma.",
    dgamma_missing="No gradient arrives at gamma.",
    negative_dgamma="dgamma has the wrong sign.",
    dbeta_averaged="dbeta is a mean over the batch where it must be a sum.",
    dbeta_not_summed="dbeta is not summed over all axes but the channels'.",
    dbeta_over_batch_only="dbeta is summed over the batch alone, and the positions are lost.",
    dbeta_with_gamma="dbeta holds a factor gamma.",
    dbeta_missing="No gradient arrives at beta.",
    negative_dbeta="dbeta has the wrong sign.",
    dgamma_dbeta_swapped="dgamma and dbeta are swapped.",
    training_gradient_in_inference="In inference the statistics are fixed, so "
    "dx = dy·gamma/sqrt(var + eps), without the two mean terms of training.",
    batch_statistics_in_inference_gradient="The gradient in inference uses the statistics of the "
    "batch instead of the running ones.",
    once_differentiable="The backward pass refuses to be differentiated again "
    "(once_differentiable?), so gradient penalties cannot be used.",
    second_gradient_statistics_as_constants="In the backward pass the saved statistics are "
    "constants: they were computed without a graph. The second gradient then lacks what flows "
    "through them, without an error.",
    second_gradient_x_hat_as_a_constant="In the backward pass x_hat and the statistics are "
    "constants: saved without a graph. The second gradient for x is then 0, without an error.",
    second_gradient_inv_std_as_a_constant="In the second backward pass 1/sqrt(var + eps) is a "
    "constant, where it multiplies: what flows through it is missing.",
    second_gradient_mean_as_a_constant="In the backward pass the mean is a constant.",
    second_gradient_variance_as_a_constant="In the backward pass the variance is a constant.",
)

# -- numbers
_ALGORITHM = _on(
    ALGORITHM,
    one_pass_variance="The variance is E[x²] - E[x]², two numbers that nearly cancel when the "
    "mean is large. Take mean((x - mean)²), best after subtracting one of the samples.",
    rounded_mean="The mean itself is rounded to the type of x before it is subtracted. Subtract "
    "one of the samples first, then take the mean of what is left.",
    sums_in_float32="Sums of thousands of float32 numbers are accumulated in float32, one after "
    "the other, so each addition rounds to the digits of the sum so far. Accumulate in float64 "
    "(in NumPy: dtype=np.float64), or pairwise.",
    loses_digits="The result loses digits when the mean is large beside the standard deviation.",
)
_POPULATION = _on(
    TRANSFORM,
    algorithm_2_biased="The average of the biased variances of the mini-batches: too small by "
    "(m-1)/m. Algorithm 2 multiplies by m/(m-1).",
    between_forgotten="The variance of all values is the mean of the shards' variances plus the "
    "variance of the shards' means. The second part is missing.",
    unweighted_merge="Shards of different sizes get the same weight. Weigh means and variances by "
    "the number of values.",
)
_PYTORCH = _on(
    PYTORCH,
    half_precision_statistics="Mean and variance are computed or kept in half precision, which "
    "has 8 or 11 bits. Compute them in float32 and round the result once.",
    state_not_saved="The running statistics are not part of what is saved, and do not move with "
    "the module: plain attributes? In PyTorch use register_buffer.",
    parameters_not_saved="gamma and beta are not part of what is saved: plain tensors? In PyTorch "
    "use torch.nn.Parameter.",
    memory_layout="The same numbers in another memory layout (channels_last, a transposed view) "
    "give another result.",
    memory_layout_refused="The same numbers in another memory layout are refused: "
    ".view() where .reshape() belongs?",
    mode_from_grad_mode="Inference follows torch.no_grad(), not .eval(): a model in eval mode "
    "normalizes with its batch, and moves its statistics, as soon as gradients are wanted.",
)

# -- behaviour as a piece of software
_API = _on(
    API,
    raises="It raises an error on an input that batch norm must take.",
    hangs="It does not come back.",
    crashes="It ends the process.",
    returns_nothing="It returns None: is `return` missing?",
    returns_wrong_type="What it returns is not an array of numbers.",
    returns_wrong_shape="y, or a gradient, does not have the shape of what it belongs to.",
    returns_narrower_type="The result has fewer bits than the input.",
    returns_other_type="The result has another type than the input: parameters in float64 beside "
    "an input in float32 do that.",
    computed_in_float32="float64 comes back with the digits of float32: something on the way is "
    "narrower than the input.",
    input_changed="The input is overwritten.",
    mask_ignored="The mask has no influence: what it leaves out is part of the mean or of the "
    "variance.",
    mask_not_counted="What the mask leaves out is counted all the same: divide by the number of "
    "values that count, in means and in m/(m-1).",
    padding_in_the_gradient="What the mask leaves out gets a gradient through the mean and the "
    "variance, of which it is no part.",
    unidentified="None of the mistakes that bn.check knows gives these numbers.",
)

_NUMBERS = _ALGORITHM | _POPULATION | _PYTORCH
MISTAKES: dict[str, Mistake] = _TRANSFORM | _BACKWARD | _NUMBERS | _API
