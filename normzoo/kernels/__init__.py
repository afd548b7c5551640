"""What the normalizers compute with: statistics, normalization and its gradient, on CPU and on GPU.

Nothing here knows a normalizer. Modules named ``triton_*`` are imported only where a CUDA device and Triton are.
"""
