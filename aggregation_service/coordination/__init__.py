"""A round's life: what joins pure round logic, storage, and the sums that worker processes hold."""
