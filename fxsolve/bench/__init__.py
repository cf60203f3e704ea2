"""One program in every form that there is of it, timed in turn.

`bench` times the `forms`, and says which ones there are; `peers` has torch.compile within a limit of time, `steps` a
call with its gradients. What comes out is `data`, which `table` and `plot` show.
"""
