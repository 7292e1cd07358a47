// y[i, j] = Σₖ a[i, k] b[k, j] (+ bias[j]) for each batch, on software adapters with subgroups.

#import subgroup
#import matmul_rows
