// dw = x ⋆ᵀ ct, on software adapters with subgroups.

#import subgroup
#import single_elements
#import conv2d_weight_grad_rows
