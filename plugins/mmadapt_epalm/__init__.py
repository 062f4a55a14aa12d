"""eP-ALM: one media token written into the upper layers of a frozen LM (arXiv 2303.11403)."""
