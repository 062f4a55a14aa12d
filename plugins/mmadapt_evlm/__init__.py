"""The `evlm` fusion: gated cross-attention to hierarchical features, dense or with experts."""
