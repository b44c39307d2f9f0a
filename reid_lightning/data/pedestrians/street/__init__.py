"""A street that fixed cameras film: generated people walk through it, and it is known who is where."""
