"""Capture: what one forward pass of any torch model shows, and where later ones are measured.

`trace` watches one forward pass in the words of `flow`; `blocks`, `skips` and `attention` read the stacks, the residual
adds and the values off it; `plan` puts them together as `places`. `session` and `gradients` then run the model with
hooks at these places, and `layout` brings what the hooks see into the shape (batch, tokens, width).
"""
