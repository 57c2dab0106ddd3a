"""Every way of joining steps, on workers of ours."""
