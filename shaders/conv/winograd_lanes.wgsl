// Products of Winograd's components, on software adapters with subgroups.

#import lanes
#import winograd_rows
