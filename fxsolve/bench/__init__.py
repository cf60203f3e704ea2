"""One program in every form that there is of it, timed in turn.

`bench` makes the forms and times them, `schedules` says which ones fxsolve can make, `peers` has torch.compile within a
limit of time, `steps` a call with its gradients. What comes out is `data`, which `table` and `plot` show.
"""
