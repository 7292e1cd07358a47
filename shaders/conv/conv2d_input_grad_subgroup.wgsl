// dx = ct ⋆ᵀ w, on software adapters with subgroups.

#import subgroup
#import conv2d_input_grad_rows
