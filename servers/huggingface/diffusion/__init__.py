"""Masked-diffusion decoding (LLaDA, arXiv 2502.09992) over transformers' dense and MoE models."""
