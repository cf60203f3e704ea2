"""Samplers that compute each entry once, as people write them by hand: what the automatic choice is measured against.

Each draws from the same random stream as the loop that it stands for, in the same order.
"""
