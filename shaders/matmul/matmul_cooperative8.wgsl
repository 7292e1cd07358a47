// y[i, j] = Σₖ a[i, k] b[k, j] (+ Σₖ a2[i, k] b2[k, j]) (+ bias[j]) for each batch, with any strides, in matrices of
// 8 × 8.

#import side8
#import matmul_operands
#import product_cooperative
