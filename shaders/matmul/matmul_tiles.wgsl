// y[i, j] = Σₖ a[i, k] b[k, j] (+ bias[j]) for each batch, on software adapters.

#import tiles
#import matmul_rows
