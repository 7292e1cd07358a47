// y[i, j] = Σₖ a[i, k] b[k, j] (+ Σₖ a2[i, k] b2[k, j]) (+ bias[j]) for each batch, with any strides, of few rows or
// columns.

#import matmul_operands
#import product_vector
