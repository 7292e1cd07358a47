// y[i, j] = Σₖ a[i, k] b[k, j] (+ Σₖ c[i, k] d[k, j]) (+ bias[j]) for each batch, with any strides of the operands.

#import matmul_operands
#import gemm
