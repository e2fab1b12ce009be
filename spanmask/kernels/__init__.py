"""Compiled functions on arrays.

They import numba, numpy and each other, nothing else. Arguments come in the order inputs, scalar parameters, random key, outputs;
outputs are preallocated by the caller. Kernels never raise, print, or touch global random state.
"""
