"""Graph mathematics on integers, without tensors: labels in, loops out.

`periods` finds runs of equal labels at one distance, `slots` the rule by which each argument changes from step to
step, `levels` the depth of a triangular pattern.
"""
