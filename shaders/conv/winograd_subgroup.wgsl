// The matrix products of Winograd's components, on software adapters with subgroups.

#import subgroup
#import winograd_rows
