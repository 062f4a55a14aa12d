"""ADEM-VL: parameter-free cross-attention beside the MLPs of a frozen LM (arXiv 2410.17779)."""
