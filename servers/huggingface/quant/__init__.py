"""Weights quantised by other people's libraries while loading: torchao, bitsandbytes, HQQ.

transformers stacks a layer's experts in one parameter, and its own integrations of these libraries
quantise `nn.Linear` alone, so a mixture of experts would keep over nine tenths of its bytes. Here
every expert becomes linear layers first, and a model where any would be left out is refused.
"""
