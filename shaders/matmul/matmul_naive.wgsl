// y[i, j] = Σₖ a[i, k] b[k, j] (+ Σₖ a2[i, k] b2[k, j]) (+ bias[j]) for each batch, with any strides, one output for
// each invocation.

#import matmul_operands
#import product_naive
