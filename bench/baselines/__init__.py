"""What spanmask is measured against: the same work done without its kernels."""
